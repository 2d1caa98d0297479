/**
 * One WebRTC connection to a media node by HTTP offer and answer (WHIP, RFC 9725, and WHEP alike), kept alive: where
 * its path fails or may have changed (Wi-Fi to mobile) ICE is restarted within the same session; where that is refused
 * or does not help it is built anew with a fresh token, again and again, until `close`. A node that is to be left is
 * left in good time: the new connection is up before the old one is closed.
 */

import type { MediaGrant } from '../protocol'
import { FRAGMENT_TYPE, fragmentOf, withFragment } from './iceRestart'
import { listMovable } from './moves'
import { watchPath } from './pathWatch'
import { listPeer } from './peers'

/** How media travel: to the node by UDP or TCP, or by TURN. */
export type Way = 'udp' | 'tcp' | 'relay'

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
  /** Only this way, for a test of it; otherwise the best one that opens. */
  only?: Way
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
/** A node that restarts no ICE: the browser may still find the old path again this much later. */
const DISCONNECTED_GRACE_MS = 1500
/** No such session any more, or not ours: only a new one can help. */
const GONE = new Set([401, 403, 404, 410])
/** Between two restarts that are only suspected to be needed. */
const RESTART_PAUSE_MS = 4000
/** A restarted path is up within a few round trips, or it will not be. */
const RESTART_PATIENCE_MS = 4000
/** The node ends a session 30 s after the last check (RFC 7675 5.1): until then there is something to restart. */
const RESTART_WINDOW_MS = 25_000
/** UDP and TCP to the node itself are up by now or blocked: the relay is tried beside them. */
const RELAY_AFTER_MS = 1500
const PATCH_TIMEOUT_MS = 2500
const RENEW_PATIENCE_MS = 2000
/** After the new connection is up, until its first pictures are there. */
const FORMER_LINGER_MS = 1500
/** The web side may still name the node that is to be left. */
const MOVE_TRIES = 6
const MOVE_PAUSE_MS = 500
const CONNECT_TIMEOUT_MS = 8000
const HTTP_TIMEOUT_MS = 6000

const CONFIGURATION: RTCConfiguration = { bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' }

class LinkProblem extends Error {}

/** Direct ways have failed in this page before: later connections do not wait for them. */
let relayNeeded = false

/** What a test of all ways has found out. */
export function preferRelay(needed: boolean): void {
  relayNeeded = needed
}

/** An answer whose candidates are all of one protocol. */
function withProtocol(answer: string, protocol: 'udp' | 'tcp'): string {
  const other = protocol === 'udp' ? 'tcp' : 'udp'
  return answer.replace(new RegExp(`^a=candidate:\\S+ \\d+ ${other} .*\\r?\\n`, 'gim'), '')
}

type Restarted = 'done' | 'refused' | 'gone' | 'unreachable'

export class MediaLink {
  private peer: RTCPeerConnection | null = null
  private unlist: (() => void) | null = null
  private unwatch: (() => void) | null = null
  private resource: string | null = null
  /** The answer that is in force; a restart changes its ICE lines only. */
  private answer = ''
  private restarting = false
  /** Ends the pause between two tries: the network has just come back. */
  private hurry: (() => void) | null = null
  private relayed = false
  private restarted_ms = Number.NEGATIVE_INFINITY
  private grant: MediaGrant
  /** Ends the connection to the node before this one, which is kept until this one is up. */
  private endFormer: (() => void) | null = null
  private moving = false
  private attempt = 0
  private closed = false
  private readonly unlistMovable: () => void
  private timers = new Set<ReturnType<typeof setTimeout>>()

  constructor(private readonly options: LinkOptions) {
    this.grant = options.grant
    this.unlistMovable = listMovable(this)
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
    this.unlistMovable()
    this.endFormer?.()
    this.drop(true)
    this.options.status({ state: 'closed', attempt: 0, problem: null })
  }

  isAt(public_url: string): boolean {
    return (this.resource ?? this.grant.url).startsWith(`${public_url}/`)
  }

  /** Goes to the node that fresh grants name. Unless the old one is `gone` its connection goes on meanwhile. */
  async move(gone: boolean): Promise<void> {
    if (this.closed || this.moving) return
    const { peer } = this
    if (gone || peer?.connectionState !== 'connected') {
      this.drop(false)
      this.attempt = 0
      return this.again()
    }
    this.moving = true
    try {
      for (let tries = 1; tries <= MOVE_TRIES; tries += 1) {
        const renewed = await this.renewed()
        if (this.closed || this.peer !== peer) return
        if (renewed && this.nodeChanged()) break
        await new Promise((resume) => setTimeout(resume, MOVE_PAUSE_MS))
      }
      // With nowhere to go it stays; when it fails, `restart` and what follows find another place.
      if (this.closed || this.peer !== peer || !this.nodeChanged()) return
      this.setAside()
      this.attempt = 0
      await this.open()
    } finally {
      this.moving = false
    }
  }

  private async connect(): Promise<void> {
    // Candidates of the node are all in its answer and it needs none of ours, so no STUN server and no gathering. An
    // allocation on the relay costs it a port and credentials: only who needs it asks for one.
    const { only } = this.options
    const relayed = (only ? only === 'relay' : relayNeeded || this.relayed) && this.grant.ice_servers.length > 0
    const iceTransportPolicy = only === 'relay' ? 'relay' : 'all'
    const peer = new RTCPeerConnection({ ...CONFIGURATION, iceTransportPolicy, iceServers: relayed ? this.grant.ice_servers : [] })
    this.peer = peer
    this.relayed = relayed
    this.unlist = listPeer(`${this.options.label}:${this.grant.id}`, peer)
    this.options.prepare(peer, this.grant)
    await peer.setLocalDescription(await peer.createOffer())
    const answer = await this.post(peer.localDescription?.sdp ?? '')
    if (this.closed || this.peer !== peer) return
    peer.addEventListener('connectionstatechange', () => this.changed(peer))
    const shaped = this.options.shapeAnswer ? this.options.shapeAnswer(answer) : answer
    this.answer = only === 'udp' || only === 'tcp' ? withProtocol(shaped, only) : shaped
    await peer.setRemoteDescription({ type: 'answer', sdp: this.answer })
    this.later(CONNECT_TIMEOUT_MS, () => {
      // Once it was up, `restart` looks after it.
      if (this.peer === peer && !this.unwatch && peer.connectionState !== 'connected') this.failed('ice_timeout')
    })
    this.relayLater(peer)
    await this.options.ready?.(peer)
  }

  /** Where no direct way opens soon, the same session is tried by the relay as well. */
  private relayLater(peer: RTCPeerConnection): void {
    if (this.options.only || this.relayed || this.grant.ice_servers.length === 0) return
    this.later(RELAY_AFTER_MS, () => {
      if (this.peer !== peer || this.relayed || peer.connectionState === 'connected') return
      this.relayed = true
      peer.setConfiguration({ ...CONFIGURATION, iceServers: this.grant.ice_servers })
      void this.restart(peer)
    })
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
        if (this.relayed && !this.options.only) relayNeeded = true
        this.options.status({ state: 'connected', attempt: 0, problem: null })
        // A test of one way ends with it; a restart would bring all ways in.
        if (!this.options.only) this.unwatch ??= watchPath(peer, () => this.suspect(peer))
        if (this.endFormer) this.later(FORMER_LINGER_MS, () => this.endFormer?.())
        break
      case 'failed':
      case 'disconnected':
        // Before the first `connected` there is no path to restart, only one that never opened.
        if (this.unwatch) void this.restart(peer)
        else if (peer.connectionState === 'failed') this.failed('ice_failed')
        break
    }
  }

  private suspect(peer: RTCPeerConnection): void {
    if (this.restarting) this.hurry?.()
    else if (performance.now() - this.restarted_ms >= RESTART_PAUSE_MS) void this.restart(peer)
  }

  /** Another path for the same session; `failed` only when the node refuses that or nothing comes of it. */
  private async restart(peer: RTCPeerConnection): Promise<void> {
    if (this.restarting || this.closed || this.peer !== peer) return
    this.restarting = true
    const began_ms = performance.now()
    let refused = false
    try {
      for (let tries = 1; ; tries += 1) {
        this.tellRestart(peer, tries)
        const outcome = await this.patch(peer)
        if (this.closed || this.peer !== peer) return
        if (outcome === 'gone') return this.failed('ice_failed')
        refused = outcome === 'refused'
        if (refused) await this.pause(DISCONNECTED_GRACE_MS)
        if (outcome !== 'unreachable') break
        // The web side answers and names another node, or this one is silent twice: it is not our network that is gone.
        const renewed = await Promise.race([this.renewed(), this.pause(RENEW_PATIENCE_MS).then(() => false)])
        if (this.closed || this.peer !== peer) return
        if (renewed && (tries > 1 || this.nodeChanged())) return this.failed('unreachable')
        if (performance.now() - began_ms > RESTART_WINDOW_MS) return this.failed('unreachable')
        await this.pause(RETRY_DELAYS_MS[Math.min(tries, RETRY_DELAYS_MS.length) - 1] ?? 0)
        if (this.closed || this.peer !== peer) return
      }
      if (this.closed || this.peer !== peer) return
      const restarted_ms = (this.restarted_ms = performance.now())
      this.relayLater(peer)
      this.later(refused ? 0 : RESTART_PATIENCE_MS, () => {
        // Another restart since then has its own patience.
        if (this.restarted_ms !== restarted_ms) return
        if (this.peer === peer && peer.connectionState !== 'connected') this.failed('ice_failed')
      })
    } finally {
      if (this.peer === peer) this.restarting = false
    }
  }

  private nodeChanged(): boolean {
    return this.resource !== null && new URL(this.resource).origin !== new URL(this.grant.url).origin
  }

  private tellRestart(peer: RTCPeerConnection, tries: number): void {
    if (this.unwatch && peer.connectionState !== 'connected') this.options.status({ state: 'retrying', attempt: tries, problem: 'ice_failed' })
  }

  private async patch(peer: RTCPeerConnection): Promise<Restarted> {
    if (!this.resource) return 'refused'
    try {
      await peer.setLocalDescription(await peer.createOffer({ iceRestart: true }))
    } catch {
      return 'refused'
    }
    let fragment: string
    try {
      const response = await fetch(this.resource, {
        method: 'PATCH',
        headers: { 'Content-Type': FRAGMENT_TYPE, 'If-Match': '*', Authorization: `Bearer ${this.grant.token}` },
        body: fragmentOf(peer.localDescription?.sdp ?? ''),
        signal: AbortSignal.timeout(PATCH_TIMEOUT_MS),
      })
      if (GONE.has(response.status)) return 'gone'
      if (response.status !== 200) return 'refused'
      fragment = await response.text()
    } catch {
      return 'unreachable'
    }
    const answer = withFragment(this.answer, fragment)
    if (answer === null || this.closed || this.peer !== peer) return 'refused'
    try {
      await peer.setRemoteDescription({ type: 'answer', sdp: answer })
    } catch {
      return 'refused'
    }
    this.answer = answer
    return 'done'
  }

  private async renewed(): Promise<boolean> {
    try {
      this.grant = await this.options.renew()
      return true
    } catch {
      return false
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
    // The live channel may be down as well; the old token is good until it expires, so it is worth a try.
    await this.renewed()
    if (!this.closed) await this.open()
  }

  private drop(tell: boolean): void {
    const { peer, resource } = this.letGo()
    if (tell) this.part(peer, resource)
    else peer?.close()
  }

  /** The connection goes on without this link, until `endFormer`. */
  private setAside(): void {
    this.endFormer?.()
    const { peer, resource } = this.letGo()
    this.endFormer = () => {
      this.endFormer = null
      this.part(peer, resource)
    }
  }

  private letGo(): { peer: RTCPeerConnection | null; resource: string | null } {
    for (const timer of this.timers) clearTimeout(timer)
    this.timers.clear()
    this.restarting = false
    this.unwatch?.()
    this.unwatch = null
    this.unlist?.()
    this.unlist = null
    const { peer, resource } = this
    this.peer = null
    this.resource = null
    return { peer, resource }
  }

  private part(peer: RTCPeerConnection | null, resource: string | null): void {
    if (!resource) {
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

  private pause(for_ms: number): Promise<void> {
    return new Promise((resume) => {
      this.hurry = resume
      setTimeout(resume, for_ms)
    })
  }

  private later(delay_ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      act()
    }, delay_ms)
    this.timers.add(timer)
  }
}
