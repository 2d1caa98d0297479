/** A guest's microphone: open exactly as long as the learner has the floor and is not muted, published as their voice. */

import { computed, onScopeDispose, ref, shallowRef, watch, type ComputedRef, type Ref, type ShallowRef } from 'vue'
import { useLessonStore } from '../live/lessonStore'
import type { Guest } from '../protocol'
import { DeviceError, openMicrophone, stopStream, type DeviceProblem } from './devices'
import { usePublisher } from './lessonMedia'
import { SPEECH_ONLY, type WhipPublisher } from './whip'

export interface Voice {
  /** One's own place among the guests; null without the floor. */
  guest: ComputedRef<Guest | null>
  stream: ShallowRef<MediaStream | null>
  publisher: ShallowRef<WhipPublisher | null>
  /** Why the floor was given back: the microphone could not be opened. Stays until the floor is granted again. */
  problem: Ref<DeviceProblem | null>
  giveBack: () => Promise<void>
}

export function useVoice(here: () => boolean): Voice {
  const lesson = useLessonStore()
  const stream = shallowRef<MediaStream | null>(null)
  const problem = ref<DeviceProblem | null>(null)
  /** Grants from before the floor was granted hold no token for the voice, or one that was voided with the last mute. */
  const granted = ref(false)
  const me = computed(() => lesson.view.you?.person_id)
  const guest = computed(() => (here() ? lesson.view.stage.guests.find((one) => one.person_id === me.value) : undefined) ?? null)
  const may = computed(() => guest.value !== null && !guest.value.muted)

  async function giveBack(): Promise<void> {
    close()
    if (guest.value) await lesson.call('floor.leave', {})
  }

  function close(): void {
    stopStream(stream.value)
    stream.value = null
    granted.value = false
  }

  async function open(): Promise<void> {
    problem.value = null
    try {
      const [opened] = await Promise.all([openMicrophone(), lesson.renew().catch(() => undefined)])
      if (!may.value) return stopStream(opened)
      stopStream(stream.value)
      stream.value = opened
      granted.value = true
      for (const track of opened.getAudioTracks()) {
        track.addEventListener('ended', () => {
          // A phone call or an unplugged cable: nobody should wait for a voice that cannot come.
          if (stream.value === opened) void failed('busy')
        })
      }
    } catch (error) {
      await failed(error instanceof DeviceError ? error.problem : 'unknown')
    }
  }

  async function failed(why: DeviceProblem): Promise<void> {
    problem.value = why
    // Refused while the channel is away: then the page gives the floor back when it is asked to, by its button.
    await giveBack().catch(() => undefined)
  }

  watch(may, (now) => (now ? void open() : close()), { immediate: true })
  onScopeDispose(close)
  const publisher = usePublisher(
    () => `.voice.${me.value ?? ''}`,
    () => stream.value,
    SPEECH_ONLY,
    () => may.value && granted.value,
  )
  return { guest, stream, publisher, problem, giveBack }
}
