/**
 * One WebRTC connection to a media node by HTTP offer and answer (WHIP, RFC 9725, and WHEP alike), kept alive:
 * when it fails it is built anew with a fresh token, again and again, until `close`.
 */

import type { MediaGrant } from '../protocol'
import { listPeer } from './peers'

export type LinkState = 'connecting' | 'connected' | 'retrying' | 'closed'

export interface LinkStatus {
  state: LinkState
  /** Failed attempts in a row. */
  attempt: number
  /** Why the last attempt failed: `http_503`, `unreachable`, `ice_failed`, `ice_timeout`, `bad_answer`; null when well. */
  problem: string | null
}

export interface LinkOptions {
  label: 'publish' | 'play'
  grant: MediaGrant
  /** A grant for the same id with a new token. */
  renew: () => Promise<MediaGrant>
  /** Adds transceivers before the offer is made. */
  prepare: (peer: RTCPeerConnection, grant: MediaGrant) => void
  /** Last word on the answer's text before it is applied. */
  shapeAnswer?: (sdp: string) => string
  /** After the answer has been applied. */
  ready?: (peer: RTCPeerConnection) => void | Promise<void>
  status: (status: LinkStatus) => void
}

/** Waits before attempt 1, 2, …: a node's restart takes under a second, a dead network much longer. */
export const RETRY_DELAYS_MS = [300, 800, 1500, 2500, 4000]
/** Chromium reports `disconnected` about 5 s after the last answered check; this much later we stop hoping. */
const DISCONNECTED_GRACE_MS = 1500
const CONNECT_TIMEOUT_MS = 8000
const HTTP_TIMEOUT_MS = 6000

class LinkProblem extends Error {}

export class MediaLink {
  private peer: RTCPeerConnection | null = null
  private unlist: (() => void) | null = null
  private resource: string | null = null
  private grant: MediaGrant
  private attempt = 0
  private closed = false
  private timers = new Set<ReturnType<typeof setTimeout>>()

  constructor(private readonly options: LinkOptions) {
    this.grant = options.grant
  }

  get connection(): RTCPeerConnection | null {
    return this.peer
  }

  get token(): string {
    return this.grant.token
  }

  async open(): Promise<void> {
    this.options.status({ state: this.attempt ? 'retrying' : 'connecting', attempt: this.attempt, problem: null })
    try {
      await this.connect()
    } catch (error) {
      this.failed(error instanceof LinkProblem ? error.message : 'bad_answer')
    }
  }

  /** Ends the connection here and, by DELETE, on the node. */
  close(): void {
    if (this.closed) return
    this.closed = true
    this.drop(true)
    this.options.status({ state: 'closed', attempt: 0, problem: null })
  }

  private async connect(): Promise<void> {
    // Candidates of the node are all in its answer and it needs none of ours, so no STUN server and no gathering.
    const peer = new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' })
    this.peer = peer
    this.unlist = listPeer(`${this.options.label}:${this.grant.id}`, peer)
    this.options.prepare(peer, this.grant)
    await peer.setLocalDescription(await peer.createOffer())
    const answer = await this.post(peer.localDescription?.sdp ?? '')
    if (this.closed || this.peer !== peer) return
    peer.addEventListener('connectionstatechange', () => this.changed(peer))
    const sdp = this.options.shapeAnswer ? this.options.shapeAnswer(answer) : answer
    await peer.setRemoteDescription({ type: 'answer', sdp })
    this.later(CONNECT_TIMEOUT_MS, () => {
      if (this.peer === peer && peer.connectionState !== 'connected') this.failed('ice_timeout')
    })
    await this.options.ready?.(peer)
  }

  private async post(offer: string): Promise<string> {
    let response: Response
    try {
      response = await fetch(this.grant.url, {
        method: 'POST',
        headers: { 'Content-Type': 'application/sdp', Authorization: `Bearer ${this.grant.token}` },
        body: offer,
        signal: AbortSignal.timeout(HTTP_TIMEOUT_MS),
      })
    } catch {
      throw new LinkProblem('unreachable')
    }
    if (response.status !== 201) throw new LinkProblem(`http_${response.status}`)
    const location = response.headers.get('Location')
    this.resource = location ? new URL(location, this.grant.url).href : null
    return response.text()
  }

  private changed(peer: RTCPeerConnection): void {
    if (this.peer !== peer || this.closed) return
    switch (peer.connectionState) {
      case 'connected':
        this.attempt = 0
        this.options.status({ state: 'connected', attempt: 0, problem: null })
        break
      case 'failed':
        this.failed('ice_failed')
        break
      case 'disconnected':
        this.later(DISCONNECTED_GRACE_MS, () => {
          if (this.peer === peer && peer.connectionState !== 'connected') this.failed('ice_failed')
        })
        break
    }
  }

  private failed(problem: string): void {
    if (this.closed) return
    this.drop(false)
    this.attempt += 1
    this.options.status({ state: 'retrying', attempt: this.attempt, problem })
    const delay_ms = RETRY_DELAYS_MS[Math.min(this.attempt, RETRY_DELAYS_MS.length) - 1] ?? 0
    this.later(delay_ms * (0.8 + Math.random() * 0.4), () => void this.again())
  }

  private async again(): Promise<void> {
    try {
      this.grant = await this.options.renew()
    } catch {
      // The live channel may be down as well; the old token is good until it expires, so it is worth a try.
      if (this.closed) return
    }
    if (!this.closed) await this.open()
  }

  private drop(tell: boolean): void {
    for (const timer of this.timers) clearTimeout(timer)
    this.timers.clear()
    this.unlist?.()
    this.unlist = null
    const { peer, resource } = this
    this.peer = null
    this.resource = null
    if (!tell || !resource) {
      peer?.close()
      return
    }
    const headers = { Authorization: `Bearer ${this.grant.token}` }
    // Said before closing: the peer's own goodbye (DTLS close_notify) would make the resource vanish first. The node
    // notices a vanished peer by consent expiry as well, so a lost DELETE costs a few seconds, no more.
    fetch(resource, { method: 'DELETE', headers, keepalive: true })
      .catch(() => undefined)
      .finally(() => peer?.close())
  }

  private later(delay_ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      act()
    }, delay_ms)
    this.timers.add(timer)
  }
}
