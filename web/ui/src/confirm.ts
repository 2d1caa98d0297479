/** One question at a time, asked over the page: `await confirm(...)` is true when the person says yes. */

import { shallowRef } from 'vue'

export interface Question {
  title: string
  text: string
  yes: string
  no: string
  danger: boolean
  answer: (yes: boolean) => void
}

export const question = shallowRef<Question | null>(null)

export function confirm(asked: Omit<Question, 'answer' | 'danger'> & { danger?: boolean }): Promise<boolean> {
  question.value?.answer(false)
  return new Promise((resolve) => {
    question.value = {
      ...asked,
      danger: asked.danger ?? false,
      answer: (yes) => {
        question.value = null
        resolve(yes)
      },
    }
  })
}
