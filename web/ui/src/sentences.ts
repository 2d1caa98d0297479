/** Error values → a sentence in the reader's language that says what to do next. */

import { ApiError } from './api'
import { i18n } from './i18n'
import { CallError } from './live/socket'

const { t, te, locale } = i18n.global

/** The sentence for any thrown value: our own by code first, then the server's, then a general one. */
export function sentenceOf(error: unknown): string {
  if (error instanceof ApiError || error instanceof CallError) {
    const key = `error.${error.code}`
    if (te(key)) return t(key)
    const said = locale.value === 'en' ? error.message_en : error.message_zh
    if (said) return said
  }
  return t('error.unknown')
}

/** A coded word of the contract (`reason`, `outcome`, `advice`, …) in the reader's language; the code itself if new. */
export function wordOf(group: string, code: string | null | undefined): string {
  if (!code) return ''
  const key = `${group}.${code}`
  return te(key) ? t(key) : code
}
