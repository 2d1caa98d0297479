/** Ties the media connections of a page to the lesson: they open when there is something to carry, and close with it. */

import { onScopeDispose, shallowRef, watch, type ShallowRef } from 'vue'
import { useLessonStore } from '../live/lessonStore'
import type { MediaGrant, SlotGrant } from '../protocol'
import { WhepPlayer } from './whep'
import { WhipPublisher, type VideoShape } from './whip'

/** How long to wait before asking again for grants that a lesson did not give (the media node may just be starting). */
const ASK_AGAIN_MS = 2000
/** How often operators are told how the class looks here. */
const TELL_EVERY_MS = 10_000

/**
 * The lesson's player while `wanted()`; replaced when the seat (and with it the subscription) changes. `slots` picks
 * from what the grant offers; the node fills m-lines in the grant's order, so of each kind it may only leave out the last.
 */
export function usePlayer(wanted: () => boolean, slots: (slot: SlotGrant) => boolean = () => true): ShallowRef<WhepPlayer | null> {
  const lesson = useLessonStore()
  const player = shallowRef<WhepPlayer | null>(null)
  let open_id: string | null = null

  function stop(): void {
    player.value?.close()
    player.value = null
    open_id = null
  }

  watch(
    () => [wanted(), lesson.grants.play] as const,
    ([want, grant]) => {
      if (!want) return stop()
      if (!grant || grant.id === open_id) return
      stop()
      open_id = grant.id
      player.value = new WhepPlayer(grant, lesson.renewPlay, slots)
      void player.value.open()
    },
    { immediate: true },
  )
  askForGrants(() => wanted() && !lesson.grants.play)
  tellWhatIsSeen(player)
  onScopeDispose(stop)
  return player
}

/** Publishes `stream()` as the publication whose id ends in `suffix()` while `wanted()`; other devices are swapped in. */
export function usePublisher(
  suffix: () => string,
  stream: () => MediaStream | null,
  shape: VideoShape,
  wanted: () => boolean,
): ShallowRef<WhipPublisher | null> {
  const lesson = useLessonStore()
  const publisher = shallowRef<WhipPublisher | null>(null)
  let open_id: string | null = null
  let kinds = ''

  function stop(): void {
    publisher.value?.close()
    publisher.value = null
    open_id = null
  }

  function find(): MediaGrant | undefined {
    return lesson.grants.publish.find((grant) => grant.id.endsWith(suffix()))
  }

  watch(
    () => [wanted(), stream(), find()] as const,
    ([want, media, grant]) => {
      if (!want || !media) return stop()
      if (!grant) return
      const now = media.getTracks().map((track) => track.kind).sort().join()
      if (publisher.value && grant.id === open_id && now === kinds) {
        void publisher.value.replaceStream(media)
        return
      }
      stop()
      open_id = grant.id
      kinds = now
      publisher.value = new WhipPublisher(grant, () => lesson.renewPublish(grant.id), media, shape)
      void publisher.value.open()
    },
    { immediate: true },
  )
  askForGrants(() => wanted() && stream() !== null && !find())
  onScopeDispose(stop)
  return publisher
}

/** A hint for operators, never evidence: one that is refused or lost is followed by the next. */
function tellWhatIsSeen(player: ShallowRef<WhepPlayer | null>): void {
  const lesson = useLessonStore()
  let told_ms = performance.now()
  const timer = setInterval(() => {
    if (player.value?.status.state !== 'connected' || lesson.connection.state !== 'live') return
    const slots = player.value.takeSeen()
    const now_ms = performance.now()
    const over_ms = Math.round(Math.min(600_000, now_ms - told_ms))
    told_ms = now_ms
    if (Object.keys(slots).length > 0) lesson.call('media.seen', { over_ms, slots }).catch(() => undefined)
  }, TELL_EVERY_MS)
  onScopeDispose(() => clearInterval(timer))
}

function askForGrants(missing: () => boolean): void {
  const lesson = useLessonStore()
  const timer = setInterval(() => {
    // A refusal is repeated by the next tick; the stage says meanwhile that the picture is being connected.
    if (missing() && lesson.connection.state === 'live') lesson.renew().catch(() => undefined)
  }, ASK_AGAIN_MS)
  onScopeDispose(() => clearInterval(timer))
}
