/**
 * The legs of the network, each tried for real: HTTP, the live channel, then media by each way a class could take
 * (UDP and TCP to the node, TURN where neither gets through), by short WHIP publications over the class's own link.
 */

import { io } from 'socket.io-client'
import type { MediaGrant } from '../protocol'
import { LESSON_NAMESPACE } from '../protocol'
import type { Way } from './link'
import { LEARNER_CAMERA, WhipPublisher } from './whip'

export interface HttpLeg {
  rtt_ms: number
}

export interface LiveLeg {
  rtt_ms: number
  transport: string
}

export interface MediaLeg {
  rtt_ms: number
  bytes: number
  /** How a relay was reached: `udp`, `tcp`, `tls`; empty on a direct way. */
  relay: string
}

/** The best way first: what a class uses when several work. */
export const WAYS: readonly Way[] = ['udp', 'tcp', 'relay']

/**
 * `code` is the sentence's key: `httpBad`, `liveBad`, `mediaHttpBad`, `udpBad`, `tcpBad`, `relayBad`, `relayAbsent`,
 * `mediaNoBytes`, `mediaNoCamera`.
 */
export class LegProblem extends Error {
  constructor(
    readonly code: string,
    readonly facts: Record<string, string | number> = {},
  ) {
    super(code)
  }
}

const HTTP_TRIES = 3
const LEG_TIMEOUT_MS = 8000
/** A blocked way gives no answer at all; one that is open stands within a few round trips. */
const WAY_TIMEOUT_MS = 6000
const PUBLISH_FOR_MS = 3000
const FEWEST_BYTES = 2000

export async function tryHttp(): Promise<HttpLeg> {
  let best = Number.POSITIVE_INFINITY
  for (let n = 0; n < HTTP_TRIES; n += 1) {
    const began = performance.now()
    try {
      const response = await fetch('/api/me', { cache: 'no-store', signal: AbortSignal.timeout(LEG_TIMEOUT_MS) })
      await response.arrayBuffer()
      if (response.status >= 500) throw new LegProblem('httpBad')
    } catch {
      throw new LegProblem('httpBad')
    }
    best = Math.min(best, performance.now() - began)
  }
  return { rtt_ms: best }
}

/** Opens the live channel with the session's cookie and times its own handshake; joins nothing. */
export async function tryLive(): Promise<LiveLeg> {
  const socket = io(LESSON_NAMESPACE, { forceNew: true, reconnection: false, withCredentials: true, transports: ['websocket', 'polling'], timeout: LEG_TIMEOUT_MS })
  try {
    const began = performance.now()
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('connect_error', reject)
      setTimeout(() => reject(new Error('timeout')), LEG_TIMEOUT_MS)
    })
    const rtt_ms = performance.now() - began
    return { rtt_ms, transport: socket.io.engine.transport.name === 'websocket' ? 'WebSocket' : 'HTTP' }
  } catch {
    throw new LegProblem('liveBad')
  } finally {
    socket.disconnect()
  }
}

/** Publishes the camera by one way only for three seconds and reads what arrived and how long the way is. */
export async function tryWay(way: Way, grant: MediaGrant, stream: MediaStream | null): Promise<MediaLeg> {
  if (!stream) throw new LegProblem('mediaNoCamera')
  if (way === 'relay' && grant.ice_servers.length === 0) throw new LegProblem('relayAbsent')
  const publisher = new WhipPublisher(grant, () => Promise.resolve(grant), stream, LEARNER_CAMERA, way)
  try {
    void publisher.open()
    const deadline = performance.now() + WAY_TIMEOUT_MS
    while (publisher.status.state !== 'connected') {
      const { problem } = publisher.status
      if (problem?.startsWith('http_') || problem === 'unreachable') throw new LegProblem('mediaHttpBad', { code: problem })
      if (performance.now() > deadline || problem) throw new LegProblem(`${way}Bad`, { port: portOf(way, publisher.connection, grant) })
      await pause(100)
    }
    await pause(PUBLISH_FOR_MS)
    const measured = await measure(publisher.connection)
    if (measured.bytes < FEWEST_BYTES) throw new LegProblem('mediaNoBytes')
    return measured
  } finally {
    publisher.close()
  }
}

async function measure(peer: RTCPeerConnection | null): Promise<MediaLeg> {
  const reports = peer ? [...(await peer.getStats()).values()] as Record<string, unknown>[] : []
  const sent = reports.filter((one) => one['type'] === 'outbound-rtp').reduce((sum, one) => sum + Number(one['bytesSent'] ?? 0), 0)
  const pair = reports.find((one) => one['type'] === 'candidate-pair' && one['nominated'] === true && one['state'] === 'succeeded')
  const remote = reports.find((one) => one['type'] === 'remote-inbound-rtp')
  const local = reports.find((one) => one['type'] === 'local-candidate' && one['id'] === pair?.['localCandidateId'])
  const rtt_s = Number(remote?.['roundTripTime'] ?? pair?.['currentRoundTripTime'] ?? 0)
  return { rtt_ms: rtt_s * 1000, bytes: sent, relay: String(local?.['relayProtocol'] ?? '') }
}

/** The port that a firewall would have to let through: from the node's own candidates, or the relay's addresses. */
export function portOf(way: Way, peer: RTCPeerConnection | null, grant: MediaGrant): string {
  if (way === 'relay') {
    const ports = grant.ice_servers.flatMap((server) => server.urls).map((url) => /:(\d+)(?:\?|$)/.exec(url)?.[1] ?? '')
    return [...new Set(ports.filter(Boolean))].join('、')
  }
  const found = new RegExp(`^a=candidate:\\S+ 1 ${way} \\d+ \\S+ (\\d+)`, 'im').exec(peer?.remoteDescription?.sdp ?? '')
  return found?.[1] ?? new URL(grant.url).port
}

function pause(for_ms: number): Promise<void> {
  return new Promise((resume) => setTimeout(resume, for_ms))
}
