/** Keeps the wall's slots at the media node as the page wants them, across refusals and reconnections. */

import { computed, onScopeDispose, reactive, ref, watch, type ComputedRef } from 'vue'
import type { WhepPlayer } from '../media/whep'
import { useLessonStore } from './lessonStore'
import { assignSlots, changedSlots } from './wallOrder'

const AGAIN_MS = 1200
export const LARGE_SLOT = 'large'

export interface WallSlots {
  slotOf: (person_id: string) => string | undefined
  setLarge: (person_id: string | null) => void
}

/** Names of the small video slots that the lesson's grant gives; empty while there is none. */
export function useSlotNames(): ComputedRef<string[]> {
  const lesson = useLessonStore()
  return computed(() => (lesson.grants.play?.slots ?? []).filter((slot) => /^w\d+$/.test(slot.name)).map((slot) => slot.name))
}

export function useWallSlots(player: () => WhepPlayer | null, visible: () => string[]): WallSlots {
  const lesson = useLessonStore()
  const names = useSlotNames()
  const wanted = reactive<Record<string, string | null>>({})
  const large = ref<string | null>(null)
  let shown: Record<string, string | null> = {}
  let sending = false
  let again: ReturnType<typeof setTimeout> | undefined

  async function send(): Promise<void> {
    const subscription_id = lesson.grants.play?.id
    if (sending || !subscription_id || player()?.status.state !== 'connected') return
    const target = { ...wanted, [LARGE_SLOT]: large.value }
    const changes = changedSlots(shown, target)
    if (Object.keys(changes).length === 0) return
    sending = true
    try {
      await lesson.call('wall.show', { subscription_id, slots: changes })
      shown = { ...shown, ...changes }
    } catch {
      // The node or the channel is away for a moment: what is wanted stays wanted.
      clearTimeout(again)
      again = setTimeout(() => void send(), AGAIN_MS)
      return
    } finally {
      sending = false
    }
    void send()
  }

  watch(
    () => [visible(), names.value] as const,
    ([people, slots]) => {
      const next = assignSlots({ ...wanted }, people, slots)
      for (const slot of Object.keys(wanted)) if (!(slot in next)) Reflect.deleteProperty(wanted, slot)
      Object.assign(wanted, next)
      void send()
    },
    { immediate: true },
  )
  watch(large, () => void send())
  watch(
    () => [player()?.status.state, lesson.joins],
    () => {
      // A new connection starts with what its token says, whatever was shown before.
      shown = Object.fromEntries(Object.keys(wanted).map((slot) => [slot, '?']))
      void send()
    },
  )
  onScopeDispose(() => clearTimeout(again))

  return {
    slotOf: (person_id) => Object.keys(wanted).find((slot) => wanted[slot] === person_id),
    setLarge: (person_id) => (large.value = person_id),
  }
}
