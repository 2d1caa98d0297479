/** The Pinia store of the lesson on screen: owns the socket, applies its envelopes, offers the contract's calls. */

import { defineStore } from 'pinia'
import { computed, reactive, ref, shallowRef } from 'vue'
import { serverNow } from '../clock'
import { moveLinks } from '../media/moves'
import type { CallName, Calls, Envelope, Joined, MediaGrant, MediaGrants, Role } from '../protocol'
import { applyEnvelope, applyJoined, emptyLesson } from './lesson'
import { LessonSocket, makeId, type Connection } from './socket'

/** How long the banner says that the connection is back. */
const RECOVERED_MS = 4_000

export const useLessonStore = defineStore('lesson', () => {
  const view = reactive(emptyLesson())
  const connection = ref<Connection>({ state: 'closed' })
  const recovered = ref(false)
  const grants = shallowRef<MediaGrants>({ publish: [], play: null })
  /** Grows with every join, so that pages can renew what hangs on the seat. */
  const joins = ref(0)
  const listeners = new Set<(envelope: Envelope) => void>()
  let socket: LessonSocket | null = null
  let recoveredTimer: ReturnType<typeof setTimeout> | undefined

  const participants = computed(() => Object.values(view.participants))
  const learners = computed(() => participants.value.filter((one) => one.role === 'learner'))

  function takeJoined(joined: Joined, resumed: boolean): void {
    applyJoined(view, joined)
    grants.value = { publish: joined.publish, play: joined.play }
    joins.value += 1
    if (!resumed) return
    recovered.value = true
    clearTimeout(recoveredTimer)
    recoveredTimer = setTimeout(() => (recovered.value = false), RECOVERED_MS)
  }

  function takeEnvelope(envelope: Envelope): void {
    if (!applyEnvelope(view, envelope)) return
    for (const listen of listeners) listen(envelope)
  }

  /** `wall_slots`: how many learners a proctor's wall shows at a time. */
  function open(lesson_id: string, as_role: Role | null, wall_slots: number | null = null): void {
    close()
    Object.assign(view, emptyLesson())
    joins.value = 0
    recovered.value = false
    socket = new LessonSocket(lesson_id, as_role, wall_slots, {
      joined: takeJoined,
      envelope: takeEnvelope,
      connection: (now) => (connection.value = now),
      moved: moveLinks,
    })
    socket.open()
  }

  function close(): void {
    socket?.close()
    socket = null
    grants.value = { publish: [], play: null }
  }

  function call<C extends CallName>(name: C, payload: Calls[C]['payload']): Promise<Calls[C]['result']> {
    if (!socket) throw new Error('the lesson is not open')
    return socket.call(name, payload)
  }

  /** New media tokens; several players that lost one node at once share one call. */
  let renewing: Promise<MediaGrants> | null = null
  function renew(): Promise<MediaGrants> {
    renewing ??= call('media.renew', {})
      .then((fresh) => (grants.value = fresh))
      .finally(() => (renewing = null))
    return renewing
  }

  async function renewPublish(id: string): Promise<MediaGrant> {
    const found = (await renew()).publish.find((grant) => grant.id === id)
    if (!found) throw new Error(`no grant for publication ${id}`)
    return found
  }

  async function renewPlay(): Promise<MediaGrant> {
    const found = (await renew()).play
    if (!found) throw new Error('no grant to play')
    return found
  }

  async function answerPing(ping_id: string): Promise<boolean> {
    const answered = await call('ping.answer', { ping_id })
    if (view.ping?.ping_id === ping_id) view.ping = null
    return answered.accepted
  }

  async function answerQuiz(quiz_id: string, question_id: string, chosen: number[]): Promise<void> {
    await call('quiz.answer', { quiz_id, question_id, chosen })
    if (view.quiz?.quiz_id === quiz_id) view.quiz.answered[question_id] = chosen
  }

  /** Sends once even when it has to be repeated: the server knows the message by `client_id`. */
  async function sendChat(text: string, client_id = makeId()): Promise<void> {
    await call('chat.send', { client_id, text })
  }

  /** Calls `listen` for every envelope as it is applied; the answer stops it. */
  function onEnvelope(listen: (envelope: Envelope) => void): () => void {
    listeners.add(listen)
    return () => listeners.delete(listen)
  }

  const elapsed_s = (now_ms = serverNow()): number => {
    const started = view.lesson?.started_at_ms
    if (!started) return 0
    return Math.max(0, ((view.lesson?.ended_at_ms ?? now_ms) - started) / 1000)
  }

  return {
    view, connection, recovered, grants, joins, participants, learners,
    open, close, call, renew, renewPublish, renewPlay, answerPing, answerQuiz, sendChat, onEnvelope, elapsed_s,
    takeJoined, takeEnvelope,
  }
})
