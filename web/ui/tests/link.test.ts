import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { RETRY_DELAYS_MS } from '../src/media/link'
import { WhepPlayer } from '../src/media/whep'
import { LEARNER_CAMERA, LECTURE_CAMERA, videoEncodings, withOpusFecDtx, WhipPublisher } from '../src/media/whip'
import { moveLinks } from '../src/media/moves'
import type { MediaGrant, MediaMoved } from '../src/protocol'

const offerOf = (generation: number): string =>
  `v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:our${generation}\r\na=ice-pwd:ourpassword${generation}\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:our${generation}\r\n`
const ANSWER =
  'v=0\r\nm=audio 9 X 111\r\na=ice-ufrag:their1\r\na=ice-pwd:theirpassword1\r\na=candidate:1 1 udp 9 192.0.2.1 8082 typ host\r\na=candidate:2 1 udp 8 192.0.2.2 8082 typ host\r\na=end-of-candidates\r\nm=video 9 X 96\r\na=ice-ufrag:their1\r\na=ice-pwd:theirpassword1\r\n'
const FRAGMENT = 'a=ice-lite\r\na=ice-ufrag:their2\r\na=ice-pwd:theirpassword2\r\na=candidate:3 1 udp 9 192.0.2.3 8082 typ host\r\n'

class FakePeer extends EventTarget {
  static all: FakePeer[] = []
  connectionState = 'new'
  localDescription: { sdp: string } | null = null
  remote: string | null = null
  generation = 1
  bytes = 0
  closed = false
  transceivers: { kind: string; init: RTCRtpTransceiverInit; receiver: { track: { kind: string } }; mid: string }[] = []

  constructor(public configuration: RTCConfiguration) {
    super()
    FakePeer.all.push(this)
  }

  setConfiguration(configuration: RTCConfiguration): void {
    this.configuration = configuration
  }

  addTransceiver(what: { kind: string } | string, init: RTCRtpTransceiverInit): void {
    const kind = typeof what === 'string' ? what : what.kind
    this.transceivers.push({ kind, init, receiver: { track: { kind } }, mid: String(this.transceivers.length) })
  }

  getTransceivers(): unknown[] {
    return this.transceivers
  }

  getStats(): Promise<Map<string, unknown>> {
    return Promise.resolve(new Map([['pair', { type: 'candidate-pair', bytesReceived: this.bytes }]]))
  }

  getSenders(): unknown[] {
    return []
  }

  createOffer(options?: RTCOfferOptions): Promise<{ sdp: string }> {
    if (options?.iceRestart) this.generation += 1
    return Promise.resolve({ sdp: offerOf(this.generation) })
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
  ice_servers: [],
  slots: [{ name: 'audio', kind: 'audio' }, { name: 'camera', kind: 'video' }, { name: 'screen', kind: 'video' }],
})
const created = (): Response => new Response(ANSWER, { status: 201, headers: { Location: '/whep/s1/r1' } })
const MOST_JITTER = 1.3

let asked: { url: string; method: string; token: string; headers: Record<string, string>; body: string }[]
let reply: () => Response | Promise<Response>
let restart: () => Response | Promise<Response>
const restarted = (): Response => new Response(FRAGMENT, { status: 200, headers: { ETag: '"their2"' } })
const patches = (): typeof asked => asked.filter((one) => one.method === 'PATCH')
const posts = (): typeof asked => asked.filter((one) => one.method === 'POST')

beforeEach(() => {
  vi.useFakeTimers()
  FakePeer.all = []
  asked = []
  reply = created
  restart = restarted
  vi.stubGlobal('RTCPeerConnection', FakePeer)
  vi.stubGlobal('window', new EventTarget())
  vi.stubGlobal('fetch', (url: string, init: { method: string; headers: Record<string, string>; body?: string }) => {
    asked.push({ url, method: init.method, token: init.headers['Authorization'] ?? '', headers: init.headers, body: init.body ?? '' })
    return Promise.resolve(init.method === 'PATCH' ? restart() : reply())
  })
})

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

const turn = async (ms = 0): Promise<void> => {
  await vi.advanceTimersByTimeAsync(ms)
}

async function connected(renew: () => Promise<MediaGrant> = () => Promise.resolve(grant('t2'))): Promise<WhepPlayer> {
  const player = new WhepPlayer(grant('t1'), renew)
  await player.open()
  FakePeer.all[0]?.become('connected')
  return player
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

  it('restarts ICE within the session when the path is gone', async () => {
    const player = await connected()
    const peer = FakePeer.all[0]
    peer?.become('disconnected')
    expect(player.status).toMatchObject({ state: 'retrying', attempt: 1 })
    await turn(1)
    expect(patches()).toHaveLength(1)
    expect(patches()[0]).toMatchObject({ url: 'http://media.test/whep/s1/r1', token: 'Bearer t1' })
    expect(patches()[0]?.headers).toMatchObject({ 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' })
    expect(patches()[0]?.body).toContain('a=ice-ufrag:our2\r\na=ice-pwd:ourpassword2\r\na=mid:0\r\n')
    // The answer of before with the new credentials on every m-line and the new candidates in the place of the old.
    expect(peer?.remote).toBe(
      'v=0\r\nm=audio 9 X 111\r\na=ice-ufrag:their2\r\na=ice-pwd:theirpassword2\r\na=candidate:3 1 udp 9 192.0.2.3 8082 typ host\r\na=end-of-candidates\r\nm=video 9 X 96\r\na=ice-ufrag:their2\r\na=ice-pwd:theirpassword2\r\n',
    )
    peer?.become('connected')
    await turn(20_000)
    expect(player.status).toMatchObject({ state: 'connected', attempt: 0, problem: null })
    expect([FakePeer.all.length, posts().length, peer?.closed]).toEqual([1, 1, false])
    player.close()
  })

  it('builds anew when a restart does not help within seconds', async () => {
    const player = await connected()
    FakePeer.all[0]?.become('disconnected')
    await turn(3900)
    expect(FakePeer.all).toHaveLength(1)
    await turn(1000)
    expect([FakePeer.all.length, FakePeer.all[0]?.closed]).toEqual([2, true])
    player.close()
  })

  it('builds anew at once where the session is gone', async () => {
    restart = () => new Response('', { status: 404 })
    const player = await connected()
    FakePeer.all[0]?.become('failed')
    await turn(RETRY_DELAYS_MS[0]! * MOST_JITTER)
    expect([FakePeer.all.length, patches().length, posts()[1]?.token]).toEqual([2, 1, 'Bearer t2'])
    player.close()
  })

  it('forgives a short interruption where the node restarts no ICE, and builds anew after a longer one', async () => {
    restart = () => new Response('', { status: 501 })
    const player = await connected()
    const peer = FakePeer.all[0]
    peer?.become('disconnected')
    await turn(1000)
    peer?.become('connected')
    await turn(5000)
    expect(FakePeer.all).toHaveLength(1)
    peer?.become('failed')
    await turn(2500)
    expect([FakePeer.all.length, peer?.closed]).toEqual([2, true])
    player.close()
  })

  it('keeps the session through an outage of everything', async () => {
    restart = () => Promise.reject(new TypeError('network'))
    const player = await connected(() => Promise.reject(new Error('offline')))
    FakePeer.all[0]?.become('disconnected')
    await turn(9000)
    expect(patches().length).toBeGreaterThan(2)
    expect(player.status).toMatchObject({ state: 'retrying', attempt: patches().length })
    restart = restarted
    const tries = patches().length
    globalThis.window.dispatchEvent(new Event('online'))
    await turn(1)
    expect(patches()).toHaveLength(tries + 1)
    FakePeer.all[0]?.become('connected')
    await turn(10_000)
    expect([FakePeer.all.length, posts().length, player.status.state]).toEqual([1, 1, 'connected'])
    player.close()
  })

  it('gives a node up that is silent while the web side answers', async () => {
    restart = () => Promise.reject(new TypeError('network'))
    const player = await connected()
    FakePeer.all[0]?.become('disconnected')
    await turn(1500)
    expect([FakePeer.all.length, patches().length]).toEqual([2, 2])
    player.close()
  })

  it('goes to another node as soon as the web side names one', async () => {
    restart = () => Promise.reject(new TypeError('network'))
    const player = await connected(() => Promise.resolve({ ...grant('t2'), url: 'http://other.test/whep/s1' }))
    FakePeer.all[0]?.become('disconnected')
    await turn(RETRY_DELAYS_MS[0]! * MOST_JITTER)
    expect([patches().length, posts()[1]?.url]).toEqual([1, 'http://other.test/whep/s1'])
    player.close()
  })

  it('restarts when the machine comes online and when the kind of network changes, media going on', async () => {
    const connection = Object.assign(new EventTarget(), { type: 'wifi' })
    vi.stubGlobal('navigator', { connection })
    const player = await connected()
    await turn(5000)
    globalThis.window.dispatchEvent(new Event('online'))
    await turn(1)
    expect([patches().length, player.status.state]).toEqual([1, 'connected'])
    await turn(5000)
    connection.dispatchEvent(new Event('change'))
    await turn(1)
    expect(patches()).toHaveLength(1)
    connection.type = 'cellular'
    connection.dispatchEvent(new Event('change'))
    await turn(1)
    expect([patches().length, FakePeer.all.length]).toEqual([2, 1])
    player.close()
    globalThis.window.dispatchEvent(new Event('online'))
    await turn(1)
    expect(patches()).toHaveLength(2)
  })

  it('restarts when packets that came steadily stop, once for each silence', async () => {
    const player = await connected()
    const peer = FakePeer.all[0]!
    await turn(10_000)
    expect(patches()).toHaveLength(0)
    for (let second = 0; second < 6; second += 1) {
      peer.bytes += 1000
      await turn(1000)
    }
    expect(patches()).toHaveLength(0)
    await turn(3500)
    expect(patches()).toHaveLength(1)
    await turn(20_000)
    expect(patches()).toHaveLength(1)
    expect([FakePeer.all.length, player.status.state]).toEqual([1, 'connected'])
    player.close()
  })

  it('notices sooner when a stream of packets breaks off', async () => {
    const player = await connected()
    const peer = FakePeer.all[0]!
    for (let step = 0; step < 40; step += 1) {
      peer.bytes += 1000
      await turn(100)
    }
    await turn(1000)
    expect(patches()).toHaveLength(0)
    await turn(1000)
    expect(patches()).toHaveLength(1)
    player.close()
  })

  it('tries the relay within the same session when no direct way opens, and first thing from then on', async () => {
    const relay = [{ urls: ['turns:turn.test'], username: '1:a', credential: 'c' }]
    const relayed = { ...grant('t1'), ice_servers: relay }
    const player = new WhepPlayer(relayed, () => Promise.resolve(relayed))
    await player.open()
    const peer = FakePeer.all[0]!
    expect(peer.configuration.iceServers).toEqual([])
    await turn(1600)
    expect([peer.configuration.iceServers, patches().length, FakePeer.all.length]).toEqual([relay, 1, 1])
    expect(player.status.state).toBe('connecting')
    peer.become('connected')
    expect(player.status.state).toBe('connected')
    player.close()
    const later = new WhepPlayer(relayed, () => Promise.resolve(relayed))
    await later.open()
    expect(FakePeer.all[1]?.configuration.iceServers).toEqual(relay)
    FakePeer.all[1]?.become('connected')
    await turn(4000)
    expect(patches()).toHaveLength(1)
    later.close()
  })

  it('keeps a test of one way to that way', async () => {
    const relay = [{ urls: ['turn:turn.test'], username: '1:a', credential: 'c' }]
    const stream = { getTracks: () => [] } as unknown as MediaStream
    const probe = { ...grant('t1'), ice_servers: relay }
    const both = 'v=0\r\na=candidate:1 1 udp 9 192.0.2.1 1 typ host\r\na=candidate:2 1 tcp 8 192.0.2.1 1 typ host tcptype passive\r\n'
    reply = () => new Response(both, { status: 201, headers: { Location: '/whip/s1/r1' } })
    for (const way of ['udp', 'tcp', 'relay'] as const) {
      const publisher = new WhipPublisher(probe, () => Promise.resolve(probe), stream, LEARNER_CAMERA, way)
      await publisher.open()
      const peer = FakePeer.all.at(-1)!
      expect(peer.configuration).toMatchObject(way === 'relay' ? { iceServers: relay, iceTransportPolicy: 'relay' } : { iceServers: [], iceTransportPolicy: 'all' })
      expect(peer.remote?.match(/ (udp|tcp) /g)).toEqual(way === 'relay' ? [' udp ', ' tcp '] : [` ${way} `])
      await turn(3000)
      expect(patches()).toHaveLength(0)
      publisher.close()
    }
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
    const sizes = videoEncodings(LECTURE_CAMERA, true)
    expect(sizes.map((size) => [size.rid, size.scaleResolutionDownBy])).toEqual([['l', 4], ['m', 2], ['h', 1]])
    expect(videoEncodings(LECTURE_CAMERA, false).some((size) => 'scalabilityMode' in size)).toBe(false)
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

describe('a node that is to be left', () => {
  const moved = (reason: MediaMoved['reason'], public_url = 'http://media.test'): MediaMoved => ({ public_url, reason, within_ms: 1000 })
  const elsewhere = (): MediaGrant => ({ ...grant('t2'), url: 'http://other.test/whep/s1' })

  it('is left only when the connection to the other one is up', async () => {
    const player = await connected(() => Promise.resolve(elsewhere()))
    moveLinks(moved('draining'))
    await turn(1000)
    expect(posts().map((one) => one.url)).toEqual(['http://media.test/whep/s1', 'http://other.test/whep/s1'])
    expect(FakePeer.all[0]?.closed).toBe(false)
    FakePeer.all[1]?.become('connected')
    expect(FakePeer.all[0]?.closed).toBe(false)
    await turn(2000)
    expect(FakePeer.all[0]?.closed).toBe(true)
    expect(asked.filter((one) => one.method === 'DELETE').map((one) => one.url)).toEqual(['http://media.test/whep/s1/r1'])
    expect(player.status.state).toBe('connected')
    moveLinks(moved('draining'))
    await turn(5000)
    expect(posts()).toHaveLength(2)
    player.close()
  })

  it('is not left while the web side names no other', async () => {
    let named = grant('t2')
    const player = await connected(() => Promise.resolve(named))
    moveLinks(moved('draining'))
    await turn(1600)
    expect(posts()).toHaveLength(1)
    named = elsewhere()
    await turn(1000)
    expect(posts()).toHaveLength(2)
    player.close()
    expect(FakePeer.all[0]?.closed || asked.filter((one) => one.method === 'DELETE').length === 2).toBe(true)
  })

  it('that is gone is not waited for', async () => {
    const player = await connected(() => Promise.resolve(elsewhere()))
    moveLinks(moved('gone', 'http://somewhere.test'))
    await turn(1000)
    expect(FakePeer.all).toHaveLength(1)
    moveLinks(moved('gone'))
    await turn(1000)
    expect(FakePeer.all[0]?.closed).toBe(true)
    expect(posts().at(-1)?.url).toBe('http://other.test/whep/s1')
    player.close()
  })

  it('the old connection outlives a first try that fails', async () => {
    const player = await connected(() => Promise.resolve(elsewhere()))
    reply = () => new Response('', { status: 503 })
    moveLinks(moved('draining'))
    await turn(1000)
    expect(player.status.state).toBe('retrying')
    expect(FakePeer.all[0]?.closed).toBe(false)
    reply = created
    await turn(2000)
    FakePeer.all.at(-1)?.become('connected')
    await turn(2000)
    expect(FakePeer.all[0]?.closed).toBe(true)
    player.close()
  })
})
