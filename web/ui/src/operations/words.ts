/** Names for what the router knows by ids: publications of a lesson, slots of a viewer. */

import { i18n } from '../i18n'

const { t, te } = i18n.global

/** `{lesson}.lecture` → 讲课; `{lesson}.learner.{person}` → 学员摄像头. */
export function publicationWord(id: string, lesson_id: string): string {
  const rest = id.startsWith(`${lesson_id}.`) ? id.slice(lesson_id.length + 1) : id
  const key = `ops.pub.${rest.split('.')[0] ?? ''}`
  return te(key) ? t(key) : rest
}

/** `camera`, `screen`, `audio`, `w3`, `voice1`, … in words. */
export function slotWord(name: string): string {
  const [, word, number] = /^([a-z_]+?)(\d+)?$/.exec(name) ?? []
  const key = `ops.slot.${word ?? ''}`
  if (!te(key)) return name
  return number === undefined ? t(key) : `${t(key)} ${Number(number) + 1}`
}
