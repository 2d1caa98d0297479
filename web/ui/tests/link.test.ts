import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { RETRY_DELAYS_MS } from '../src/media/link'
import { WhepPlayer } from '../src/media/whep'
import { LEARNER_CAMERA, withOpusFecDtx, WhipPublisher } from '../src/media/whip'
import type { MediaGrant } from '../src/protocol'

class FakePeer extends EventTarget {
  static all: FakePeer[] = []
  connectionState = 'new'
  localDescription: { sdp: string } | null = null
  remote: string | null = null
  closed = false
  transceivers: { kind: string; init: RTCRtpTransceiverInit; receiver: { track: { kind: string } }; mid: string }[] = []

  constructor() {
    super()
    FakePeer.all.push(this)
  }

  addTransceiver(what: { kind: string } | string, init: RTCRtpTransceiverInit): void {
    const kind = typeof what === 'string' ? what : what.kind
    this.transceivers.push({ kind, init, receiver: { track: { kind } }, mid: String(this.transceivers.length) })
  }

  getTransceivers(): unknown[] {
    return this.transceivers
  }

  getStats(): Promise<Map<string, unknown>> {
    return Promise.resolve(new Map())
  }

  getSenders(): unknown[] {
    return []
  }

  createOffer(): Promise<{ sdp: string }> {
    return Promise.resolve({ sdp: 'v=0 offer' })
  }

  setLocalDescription(offer: { sdp: string }): Promise<void> {
    this.localDescription = offer
    return Promise.resolve()
  }

  setRemoteDescription(answer: { sdp: string }): Promise<void> {
    this.remote = answer.sdp
    return Promise.resolve()
  }

  become(state: string): void {
    this.connectionState = state
    this.dispatchEvent(new Event('connectionstatechange'))
  }

  close(): void {
    this.closed = true
  }
}

const grant = (token: string): MediaGrant => ({
  url: 'http://media.test/whep/s1', token, id: 's1',
  slots: [{ name: 'audio', kind: 'audio' }, { name: 'camera', kind: 'video' }, { name: 'screen', kind: 'video' }],
})
const created = (): Response => new Response('v=0 answer', { status: 201, headers: { Location: '/whep/s1/r1' } })
const MOST_JITTER = 1.3

let asked: { url: string; method: string; token: string }[]
let reply: () => Response | Promise<Response>

beforeEach(() => {
  vi.useFakeTimers()
  FakePeer.all = []
  asked = []
  reply = created
  vi.stubGlobal('RTCPeerConnection', FakePeer)
  vi.stubGlobal('fetch', (url: string, init: { method: string; headers: Record<string, string> }) => {
    asked.push({ url, method: init.method, token: init.headers['Authorization'] ?? '' })
    return Promise.resolve(reply())
  })
})

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

const turn = async (ms = 0): Promise<void> => {
  await vi.advanceTimersByTimeAsync(ms)
}

describe('a media link', () => {
  it('offers its slots in the order of the grant and names the tracks by them', async () => {
    const player = new WhepPlayer(grant('t1'), () => Promise.resolve(grant('t2')))
    await player.open()
    const peer = FakePeer.all[0]
    expect(peer?.transceivers.map((one) => [one.kind, one.init.direction])).toEqual([['audio', 'recvonly'], ['video', 'recvonly'], ['video', 'recvonly']])
    expect(Object.keys(player.tracks)).toEqual(['audio', 'camera', 'screen'])
    peer?.become('connected')
    expect(player.status.state).toBe('connected')
    player.close()
    expect(asked.at(-1)).toMatchObject({ method: 'DELETE', url: 'http://media.test/whep/s1/r1' })
  })

  it('tries again with a new token after a refusal, and waits longer each time', async () => {
    reply = () => new Response('', { status: 503 })
    const renew = vi.fn(() => Promise.resolve(grant('t2')))
    const player = new WhepPlayer(grant('t1'), renew)
    await player.open()
    expect(player.status).toMatchObject({ state: 'retrying', attempt: 1, problem: 'http_503' })
    for (const delay_ms of RETRY_DELAYS_MS) await turn(delay_ms * MOST_JITTER)
    const tries = asked.length
    expect(tries).toBeGreaterThan(3)
    expect(tries).toBeLessThanOrEqual(RETRY_DELAYS_MS.length + 2)
    expect(asked[1]?.token).toBe('Bearer t2')
    expect(renew).toHaveBeenCalledTimes(tries - 1)
    reply = created
    await turn(6000)
    FakePeer.all.at(-1)?.become('connected')
    expect(player.status).toMatchObject({ state: 'connected', attempt: 0, problem: null })
    player.close()
  })

  it('keeps the old token when the live channel is down as well', async () => {
    reply = () => new Response('', { status: 500 })
    const player = new WhepPlayer(grant('t1'), () => Promise.reject(new Error('offline')))
    await player.open()
    await turn(400)
    expect(asked.map((one) => one.token)).toEqual(['Bearer t1', 'Bearer t1'])
    player.close()
  })

  it('builds a new connection when the path fails, and forgives a short interruption', async () => {
    const player = new WhepPlayer(grant('t1'), () => Promise.resolve(grant('t2')))
    await player.open()
    const first = FakePeer.all[0]
    first?.become('connected')
    first?.become('disconnected')
    await turn(1000)
    first?.become('connected')
    await turn(5000)
    expect(FakePeer.all).toHaveLength(1)
    first?.become('failed')
    await turn(500)
    expect(first?.closed).toBe(true)
    expect(FakePeer.all).toHaveLength(2)
    player.close()
  })

  it('does not wait for ever on a path that never opens', async () => {
    const player = new WhepPlayer(grant('t1'), () => Promise.resolve(grant('t2')))
    await player.open()
    await turn(8100)
    expect(player.status.problem).toBe('ice_timeout')
    player.close()
    const tries = asked.filter((one) => one.method === 'POST').length
    await turn(60_000)
    expect(asked.filter((one) => one.method === 'POST')).toHaveLength(tries)
  })

  it('limits a learner’s camera and does not simulcast', async () => {
    const stream = { getTracks: () => [{ kind: 'video' }] } as unknown as MediaStream
    const publisher = new WhipPublisher(grant('t1'), () => Promise.resolve(grant('t2')), stream, LEARNER_CAMERA)
    await publisher.open()
    expect(FakePeer.all[0]?.transceivers[0]?.init.sendEncodings).toEqual([{ maxBitrate: 250_000, maxFramerate: 10 }])
    publisher.close()
  })
})

describe('Opus in the answer', () => {
  it('asks for FEC and DTX and keeps what was there', () => {
    const answer = 'm=audio 9 X 111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=0\r\nm=video\r\n'
    expect(withOpusFecDtx(answer)).toContain('a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1\r\n')
  })

  it('adds the line where there was none and leaves answers without Opus alone', () => {
    expect(withOpusFecDtx('a=rtpmap:96 opus/48000/2\r\na=x\r\n')).toBe('a=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1;usedtx=1\r\na=x\r\n')
    expect(withOpusFecDtx('m=video 9 X 96\r\na=rtpmap:96 VP8/90000\r\n')).toBe('m=video 9 X 96\r\na=rtpmap:96 VP8/90000\r\n')
  })
})
