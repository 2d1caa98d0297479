/** The three legs of the network, each tried for real: HTTP, the live channel, and UDP media by a short WHIP publication. */

import { io } from 'socket.io-client'
import type { MediaGrant } from '../protocol'
import { LESSON_NAMESPACE } from '../protocol'
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
}

/** `code` is the sentence's key: `httpBad`, `liveBad`, `mediaHttpBad`, `mediaIceBad`, `mediaNoBytes`, `mediaNoCamera`. */
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

/** Publishes the camera to the probe for three seconds and reads what arrived and how long the way is. */
export async function tryMedia(grant: MediaGrant, stream: MediaStream | null): Promise<MediaLeg> {
  if (!stream) throw new LegProblem('mediaNoCamera')
  const publisher = new WhipPublisher(grant, () => Promise.resolve(grant), stream, LEARNER_CAMERA)
  try {
    void publisher.open()
    const deadline = performance.now() + LEG_TIMEOUT_MS
    while (publisher.status.state !== 'connected') {
      const { problem } = publisher.status
      if (problem?.startsWith('http_') || problem === 'unreachable') throw new LegProblem('mediaHttpBad', { code: problem })
      if (performance.now() > deadline || problem) throw new LegProblem('mediaIceBad', { port: await remotePort(publisher.connection, grant) })
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
  const pair = reports.find((one) => one['type'] === 'candidate-pair' && one['nominated'] === true)
  const remote = reports.find((one) => one['type'] === 'remote-inbound-rtp')
  const rtt_s = Number(remote?.['roundTripTime'] ?? pair?.['currentRoundTripTime'] ?? 0)
  return { rtt_ms: rtt_s * 1000, bytes: sent }
}

/** The UDP port that a firewall would have to let through, from the node's own candidates. */
async function remotePort(peer: RTCPeerConnection | null, grant: MediaGrant): Promise<string> {
  const found = /^a=candidate:\S+ 1 udp \d+ \S+ (\d+)/im.exec(peer?.remoteDescription?.sdp ?? '')
  return found?.[1] ?? new URL(grant.url).port
}

function pause(for_ms: number): Promise<void> {
  return new Promise((resume) => setTimeout(resume, for_ms))
}
