/** Times as people read them, in the page's language and the reader's time zone. */

import { i18n } from './i18n'

const locale = (): string => i18n.global.locale.value

/** `11月23日 14:05`; only the time of day when it is today. */
export function dateTime(at_ms: number): string {
  const then = new Date(at_ms)
  const today = new Date().toDateString() === then.toDateString()
  const options: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit', hour12: false }
  return new Intl.DateTimeFormat(locale(), today ? options : { ...options, month: 'short', day: 'numeric' }).format(then)
}

/** `14:05:32`. */
export function timeOfDay(at_ms: number): string {
  return new Intl.DateTimeFormat(locale(), { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false }).format(new Date(at_ms))
}

/** How long ago, coarsely: `刚刚`, `12 秒前`, `3 分钟前`. */
export function ago(at_ms: number, now_ms: number): string {
  const { t } = i18n.global
  const seconds = Math.max(0, Math.round((now_ms - at_ms) / 1000))
  if (seconds < 3) return t('wall.ago.now')
  if (seconds < 60) return t('wall.ago.s', { n: seconds })
  if (seconds < 3600) return t('wall.ago.m', { n: Math.floor(seconds / 60) })
  return t('wall.ago.h', { n: Math.floor(seconds / 3600) })
}
