/**
 * The lesson's live channel: typed calls, one ordered stream of envelopes, and a way back after every break.
 *
 * Socket.IO reconnects the wire; this file re-joins the lesson with `since` = the newest envelope applied, so nothing
 * said meanwhile is lost. Envelopes that arrive while a join is under way wait until its snapshot has been applied.
 */

import { io, type Socket } from 'socket.io-client'
import { setServerTime } from '../clock'
import {
  ENVELOPE_EVENT,
  LESSON_NAMESPACE,
  MEDIA_MOVED_EVENT,
  SEAT_ENDED_EVENT,
  type Answer,
  type CallName,
  type Calls,
  type Envelope,
  type Joined,
  type MediaMoved,
  type Role,
  type SeatEnded,
} from '../protocol'

/** A refused call: `code` is of the contract's ErrorCode, or `offline` / `timeout` when no answer came. */
export class CallError extends Error {
  constructor(
    readonly code: string,
    readonly message_zh: string | null,
    readonly message_en: string | null,
  ) {
    super(message_en ?? code)
  }
}

export type Connection =
  | { state: 'connecting' }
  | { state: 'live' }
  | { state: 'reconnecting'; attempt: number }
  | { state: 'refused'; code: string; message_zh: string | null; message_en: string | null }
  | { state: 'seat_ended'; reason: SeatEnded['reason'] }
  | { state: 'closed' }

export interface LessonSocketEvents {
  joined(joined: Joined, resumed: boolean): void
  envelope(envelope: Envelope): void
  connection(connection: Connection): void
  moved(moved: MediaMoved): void
}

const CALL_TIMEOUT_MS = 8_000
// A node's death is noticed by TCP reset at once; the first tries are quick, then spread out so that a whole class
// coming back does not arrive in one burst.
const RECONNECT_FIRST_MS = 300
const RECONNECT_MAX_MS = 3_000
/** Codes after which trying again by itself cannot help. */
const FINAL_CODES = new Set(['sign_in_required', 'not_found', 'bad_payload', 'consent_required', 'face_required'])

/** 128 random bits as hex; `crypto.randomUUID` is missing outside secure contexts, getRandomValues is not. */
export function makeId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

export class LessonSocket {
  /** In memory only: a second tab is a second window, and so is this one when it takes a lost seat back. */
  private readonly window_id = makeId()
  private readonly socket: Socket
  private joining = false
  private everJoined = false
  private waiting: Envelope[] = []
  private finished = false
  private attempt = 0
  private retry: ReturnType<typeof setTimeout> | undefined
  /** `seq` of the newest envelope or snapshot applied; null before the first join. */
  since: number | null = null

  constructor(
    private readonly lesson_id: string,
    private readonly as_role: Role | null,
    private readonly wall_slots: number | null,
    private readonly events: LessonSocketEvents,
  ) {
    this.socket = io(LESSON_NAMESPACE, {
      autoConnect: false,
      withCredentials: true,
      transports: ['websocket', 'polling'],
      reconnectionDelay: RECONNECT_FIRST_MS,
      reconnectionDelayMax: RECONNECT_MAX_MS,
      randomizationFactor: 0.5,
      timeout: 5_000,
    })
    this.socket.on('connect', () => void this.join())
    this.socket.on('disconnect', () => this.lost())
    this.socket.on('connect_error', (error: Error & { data?: { code?: string; message?: string; message_en?: string } }) => {
      if (error.data?.code && FINAL_CODES.has(error.data.code)) this.refuse(error.data.code, error.data.message, error.data.message_en)
      // A refusal by the server's middleware stops Socket.IO's own retries; a transport error does not.
      else if (!this.socket.active && !this.finished) this.again()
    })
    this.socket.io.on('reconnect_attempt', (attempt: number) => {
      this.attempt = attempt
      if (!this.finished) this.events.connection({ state: 'reconnecting', attempt })
    })
    this.socket.on(ENVELOPE_EVENT, (envelope: Envelope) => {
      if (this.joining) this.waiting.push(envelope)
      else this.deliver(envelope)
    })
    this.socket.on(MEDIA_MOVED_EVENT, (moved: MediaMoved) => this.events.moved(moved))
    this.socket.on(SEAT_ENDED_EVENT, (ended: SeatEnded) => this.endSeat(ended.reason))
  }

  open(): void {
    this.events.connection({ state: 'connecting' })
    this.socket.connect()
  }

  /** Leaves the lesson for good; the seat is given back if the server still hears us. */
  close(): void {
    if (this.socket.connected) this.socket.emit('leave', {})
    this.finished = true
    clearTimeout(this.retry)
    this.socket.disconnect()
    this.events.connection({ state: 'closed' })
  }

  /** One call of the contract. Throws `CallError`. */
  async call<C extends CallName>(name: C, payload: Calls[C]['payload'], timeout_ms = CALL_TIMEOUT_MS): Promise<Calls[C]['result']> {
    if (!this.socket.connected) throw new CallError('offline', null, null)
    let answer: Answer<C>
    try {
      answer = (await this.socket.timeout(timeout_ms).emitWithAck(name, payload)) as Answer<C>
    } catch {
      throw new CallError(this.socket.connected ? 'timeout' : 'offline', null, null)
    }
    if (!answer.ok) throw new CallError(answer.error.code, answer.error.message, answer.error.message_en)
    return answer
  }

  private async join(): Promise<void> {
    this.joining = true
    this.waiting = []
    const asked = performance.now()
    try {
      const joined = await this.call('join', {
        lesson_id: this.lesson_id,
        window_id: this.window_id,
        since: this.since,
        as_role: this.as_role,
        ...(this.wall_slots === null ? {} : { wall_slots: this.wall_slots }),
      })
      setServerTime(joined.server_ms, asked, performance.now())
      const resumed = this.everJoined
      this.everJoined = true
      this.attempt = 0
      for (const envelope of joined.missed) this.deliver(envelope)
      this.since = joined.seq
      this.events.joined(joined, resumed)
      this.events.connection({ state: 'live' })
      this.joining = false
      const waiting = this.waiting.sort((a, b) => a.seq - b.seq)
      this.waiting = []
      for (const envelope of waiting) this.deliver(envelope)
    } catch (error) {
      this.joining = false
      if (this.finished) return
      if (error instanceof CallError && error.code === 'seat_taken') this.endSeat('second_window')
      else if (error instanceof CallError && FINAL_CODES.has(error.code)) this.refuse(error.code, error.message_zh, error.message_en)
      else if (this.socket.connected) this.again()
    }
  }

  /** Applies each envelope once and in order: what is not newer than `since` has been seen. */
  private deliver(envelope: Envelope): void {
    if (this.since !== null && envelope.seq <= this.since) return
    this.since = envelope.seq
    this.events.envelope(envelope)
  }

  private lost(): void {
    if (this.finished) return
    this.joining = false
    this.attempt = 1
    this.events.connection({ state: 'reconnecting', attempt: 1 })
    // The server closing the socket (a node going down in order) also stops Socket.IO's own retries.
    if (!this.socket.active) this.again()
  }

  private again(): void {
    clearTimeout(this.retry)
    this.attempt += 1
    this.events.connection({ state: 'reconnecting', attempt: this.attempt })
    const delay_ms = Math.min(RECONNECT_MAX_MS, RECONNECT_FIRST_MS * 2 ** Math.min(this.attempt, 5)) * (0.5 + Math.random())
    this.retry = setTimeout(() => {
      if (this.finished) return
      if (this.socket.connected) void this.join()
      else this.socket.connect()
    }, delay_ms)
  }

  private endSeat(reason: SeatEnded['reason']): void {
    this.finished = true
    clearTimeout(this.retry)
    this.events.connection({ state: 'seat_ended', reason })
    this.socket.disconnect()
  }

  private refuse(code: string, message_zh: string | null | undefined, message_en: string | null | undefined): void {
    this.finished = true
    this.events.connection({ state: 'refused', code, message_zh: message_zh ?? null, message_en: message_en ?? null })
    this.socket.disconnect()
  }
}
