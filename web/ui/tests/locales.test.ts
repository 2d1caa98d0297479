import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createI18n } from 'vue-i18n'
import en from '../src/locales/en'
import zh from '../src/locales/zh-CN'
import { LESSON_STATE_VALUES, PRESENCE_STATE_VALUES, ROLE_VALUES } from '../src/protocol'

type Tree = { [key: string]: string | string[] | Tree }

function flat(tree: Tree, before = ''): Map<string, string> {
  const found = new Map<string, string>()
  for (const [key, value] of Object.entries(tree)) {
    if (typeof value === 'string') found.set(before + key, value)
    else if (Array.isArray(value)) value.forEach((one, index) => found.set(`${before}${key}[${index}]`, one))
    else for (const [inner, text] of flat(value, `${before}${key}.`)) found.set(inner, text)
  }
  return found
}

const chinese = flat(zh)
const english = flat(en)
const placeholders = (text: string): string[] => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? '').sort()

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? sources(join(folder, entry.name)) : /\.(vue|ts)$/.test(entry.name) && !folder.endsWith('locales') ? [join(folder, entry.name)] : [],
  )
}

describe('the two languages', () => {
  it('have the same keys', () => {
    expect([...english.keys()].sort()).toEqual([...chinese.keys()].sort())
  })

  it('say something everywhere, in their own script', () => {
    for (const [key, text] of english) {
      expect(text.trim(), key).not.toBe('')
      if (key !== 'nav.language') expect(/[\u4e00-\u9fff]/.test(text), key).toBe(false)
    }
    for (const [key, text] of chinese) expect(text.trim(), key).not.toBe('')
  })

  it('take the same values in each sentence', () => {
    for (const [key, text] of chinese) expect(placeholders(english.get(key) ?? ''), key).toEqual(placeholders(text))
  })

  it('come out of the message compiler as they were written, values filled in', () => {
    for (const [locale, messages, sentences] of [['zh-CN', zh, chinese], ['en', en, english]] as const) {
      const { t } = createI18n({ legacy: false, locale, messages: { [locale]: messages } }).global
      for (const [key, text] of sentences) {
        const values = Object.fromEntries(placeholders(text).map((name) => [name, `<${name}>`]))
        expect(t(key, values), key).toBe(text.replaceAll(/\{(\w+)\}/g, '<$1>'))
      }
    }
  })

  it('know every key that the page names outright', () => {
    const missing: string[] = []
    for (const file of sources(join(__dirname, '../src'))) {
      for (const match of readFileSync(file, 'utf8').matchAll(/\bt\('([\w.]+)'/g)) {
        const key = match[1] ?? ''
        if (!chinese.has(key)) missing.push(`${file}: ${key}`)
      }
    }
    expect(missing).toEqual([])
  })

  it('word every state and role of the contract', () => {
    for (const state of PRESENCE_STATE_VALUES) expect(chinese.has(`presence.${state}`), state).toBe(true)
    for (const state of LESSON_STATE_VALUES) expect(chinese.has(`lessons.state.${state}`), state).toBe(true)
    for (const role of ROLE_VALUES) expect(chinese.has(`role.${role}`), role).toBe(true)
  })
})
