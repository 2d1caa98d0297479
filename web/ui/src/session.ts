/** Who is signed in. The session itself is an HttpOnly cookie; the page only knows the person behind it. */

import { defineStore } from 'pinia'
import { computed, ref } from 'vue'
import { api, ApiError, type Demo, type Me, type Person, type PersonRole } from './api'

export const useSession = defineStore('session', () => {
  const person = ref<Person | null>(null)
  const face = ref<Me['face']>({ enrolled: false, status: null })
  const consents = ref<unknown[]>([])
  const asked = ref(false)
  /** May see the operators' page. */
  const operates = ref(false)
  const demo = ref<Demo | null>(null)

  const roles = computed<PersonRole[]>(() => person.value?.roles ?? [])

  /** Asks the server once who we are; null when nobody is signed in. Other failures are thrown. */
  async function load(again = false): Promise<Person | null> {
    if (asked.value && !again) return person.value
    try {
      const me = await api.me()
      person.value = me.person
      face.value = me.face
      consents.value = me.consents
      operates.value = me.operates
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error
      person.value = null
    }
    asked.value = true
    return person.value
  }

  async function signIn(login: string, password: string): Promise<Person> {
    await api.signIn(login, password)
    const who = await load(true)
    if (!who) throw new ApiError(401, 'sign_in_required', null, null)
    return who
  }

  async function signOut(): Promise<void> {
    try {
      await api.signOut()
    } finally {
      forget()
    }
  }

  function forget(): void {
    person.value = null
    operates.value = false
    asked.value = true
  }

  async function loadDemo(): Promise<Demo | null> {
    demo.value ??= await api.demo()
    return demo.value
  }

  /** Consents come as `{purpose, …}` rows; withdrawn ones carry `withdrawn_at_ms`. */
  const hasFaceConsent = computed(() =>
    consents.value.some((one) => {
      if (typeof one === 'string') return one === 'face'
      const row = one as { purpose?: string; withdrawn_at_ms?: number | null }
      return row.purpose === 'face' && !row.withdrawn_at_ms
    }),
  )

  return { person, face, consents, operates, roles, demo, hasFaceConsent, load, signIn, signOut, forget, loadDemo }
})
