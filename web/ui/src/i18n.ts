import { createI18n } from 'vue-i18n'
import en from './locales/en'
import zh from './locales/zh-CN'

export type Locale = 'zh-CN' | 'en'

const KEY = 'anke.locale'

function stored(): Locale {
  try {
    return localStorage.getItem(KEY) === 'en' ? 'en' : 'zh-CN'
  } catch {
    // Storage is forbidden in some in-app browsers; Chinese is the default.
    return 'zh-CN'
  }
}

export const i18n = createI18n({
  legacy: false,
  locale: stored(),
  fallbackLocale: 'zh-CN',
  messages: { 'zh-CN': zh, en },
})

export function setLocale(locale: Locale): void {
  i18n.global.locale.value = locale
  document.documentElement.lang = locale
  try {
    localStorage.setItem(KEY, locale)
  } catch {
    // The choice then lasts as long as the page.
    return
  }
}

document.documentElement.lang = stored()
