import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { Envelope, Joined } from '../src/protocol'
import { envelope, joined, NOW_MS } from './facts'

type Handler = (...values: never[]) => void

/** A wire that the test holds both ends of. */
class FakeSocket {
  handlers = new Map<string, Handler[]>()
  connected = false
  active = true
  sent: { name: string; payload: Record<string, unknown> }[] = []
  answers: Record<string, (payload: Record<string, unknown>) => Promise<unknown>> = {}
  io = { on: () => undefined }

  on(name: string, handler: Handler): void {
    this.handlers.set(name, [...(this.handlers.get(name) ?? []), handler])
  }

  fire(name: string, value?: unknown): void {
    for (const handler of this.handlers.get(name) ?? []) (handler as (value: unknown) => void)(value)
  }

  connect(): void {
    this.connected = true
    this.fire('connect')
  }

  drop(): void {
    this.connected = false
    this.fire('disconnect')
  }

  disconnect(): void {
    this.connected = false
  }

  emit(name: string, payload: Record<string, unknown>): void {
    this.sent.push({ name, payload })
  }

  timeout(): { emitWithAck: (name: string, payload: Record<string, unknown>) => Promise<unknown> } {
    return {
      emitWithAck: (name, payload) => {
        this.sent.push({ name, payload })
        const answer = this.answers[name]
        return answer ? answer(payload) : Promise.reject(new Error('timeout'))
      },
    }
  }
}

let wire: FakeSocket
vi.mock('socket.io-client', () => ({ io: () => wire }))
const { LessonSocket, CallError } = await import('../src/live/socket')

const settle = (): Promise<void> => new Promise((resume) => setTimeout(resume, 0))
const chat = (seq: number): Envelope =>
  envelope(seq, 'chat.posted', { message: { message_id: `m${seq}`, person_id: 'o', name: 'o', role: 'learner', text: '', at_ms: NOW_MS } })

describe('the live channel', () => {
  let seen: number[]
  let states: string[]
  let snapshots: Joined[]

  beforeEach(() => {
    wire = new FakeSocket()
    seen = []
    states = []
    snapshots = []
  })

  function open(): InstanceType<typeof LessonSocket> {
    const socket = new LessonSocket('l1', 'learner', null, {
      joined: (one) => snapshots.push(one),
      envelope: (one) => seen.push(one.seq),
      moved: () => undefined,
      connection: (now) => states.push(now.state),
    })
    socket.open()
    return socket
  }

  it('re-joins with the newest number applied and gets what it missed, once and in order', async () => {
    wire.answers['join'] = () => Promise.resolve({ ok: true, ...joined({ seq: 10 }) })
    open()
    await settle()
    wire.fire('event', chat(11))
    wire.fire('event', chat(12))
    wire.drop()
    wire.answers['join'] = () => Promise.resolve({ ok: true, ...joined({ seq: 15, missed: [chat(12), chat(13), chat(15)] }) })
    wire.connect()
    await settle()
    expect(wire.sent.filter((one) => one.name === 'join').map((one) => one.payload['since'])).toEqual([null, 12])
    expect(seen).toEqual([11, 12, 13, 15])
    expect(states.at(-1)).toBe('live')
  })

  it('holds envelopes back while a join is under way and applies only the newer ones', async () => {
    let answer: (value: unknown) => void = () => undefined
    wire.answers['join'] = () => new Promise((resolve) => (answer = resolve))
    open()
    wire.fire('event', chat(12))
    wire.fire('event', chat(11))
    wire.fire('event', chat(9))
    expect(seen).toEqual([])
    answer({ ok: true, ...joined({ seq: 10 }) })
    await settle()
    expect(snapshots).toHaveLength(1)
    expect(seen).toEqual([11, 12])
  })

  it('drops an envelope that comes twice', async () => {
    wire.answers['join'] = () => Promise.resolve({ ok: true, ...joined({ seq: 10 }) })
    open()
    await settle()
    wire.fire('event', chat(11))
    wire.fire('event', chat(11))
    expect(seen).toEqual([11])
  })

  it('stays ended once the seat was taken elsewhere', async () => {
    wire.answers['join'] = () => Promise.resolve({ ok: true, ...joined({ seq: 10 }) })
    open()
    await settle()
    wire.fire('seat.ended', { reason: 'second_window' })
    wire.drop()
    expect(states.at(-1)).toBe('seat_ended')
    expect(wire.connected).toBe(false)
  })

  it('learns from a refused join that another window took the seat meanwhile', async () => {
    wire.answers['join'] = () => Promise.resolve({ ok: false, error: { code: 'seat_taken', message: '', message_en: '' } })
    open()
    await settle()
    expect(states.at(-1)).toBe('seat_ended')
  })

  it('is another window each time it is opened, the same one across reconnections (R-060)', async () => {
    wire.answers['join'] = () => Promise.resolve({ ok: true, ...joined() })
    open()
    await settle()
    wire.drop()
    wire.connect()
    await settle()
    const [first, again] = wire.sent.filter((one) => one.name === 'join').map((one) => one.payload['window_id'])
    expect(again).toBe(first)
    wire = new FakeSocket()
    wire.answers['join'] = () => Promise.resolve({ ok: true, ...joined() })
    open()
    await settle()
    expect(wire.sent[0]?.payload['window_id']).not.toBe(first)
  })

  it('gives up with the reason when joining can never succeed', async () => {
    wire.answers['join'] = () => Promise.resolve({ ok: false, error: { code: 'not_found', message: '没有', message_en: 'none' } })
    open()
    await settle()
    expect(states.at(-1)).toBe('refused')
  })

  it('names a refused call by its code and a silent one by what happened', async () => {
    wire.answers['join'] = () => Promise.resolve({ ok: true, ...joined() })
    const socket = open()
    await settle()
    wire.answers['ping.answer'] = () => Promise.resolve({ ok: false, error: { code: 'too_late', message: '晚了', message_en: 'late' } })
    await expect(socket.call('ping.answer', { ping_id: 'p' })).rejects.toMatchObject({ code: 'too_late' })
    delete wire.answers['ping.answer']
    await expect(socket.call('ping.answer', { ping_id: 'p' })).rejects.toMatchObject({ code: 'timeout' })
    wire.connected = false
    await expect(socket.call('ping.answer', { ping_id: 'p' })).rejects.toBeInstanceOf(CallError)
  })
})
