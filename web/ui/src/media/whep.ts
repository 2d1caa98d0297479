/** Playing by WHEP: a fixed set of receive slots, negotiated once; what a slot shows is the media node's routing. */

import { shallowReactive } from 'vue'
import type { MediaGrant, SlotGrant, SlotSeen } from '../protocol'
import { MediaLink, type LinkStatus } from './link'
import { SeenCounter } from './seen'

export interface SlotActivity {
  bytes: number
  frames: number
  width: number
  height: number
  /** Packets came within the last seconds: there is something to show. */
  flowing: boolean
}

const SAMPLE_EVERY_MS = 1000
/** A still shared screen sends about one frame a second; silence longer than this means that nothing is sent. */
const QUIET_AFTER_MS = 4000

export class WhepPlayer {
  readonly status = shallowReactive<LinkStatus>({ state: 'connecting', attempt: 0, problem: null })
  /** Slot name → its track; a new one after every reconnection. */
  readonly tracks = shallowReactive<Record<string, MediaStreamTrack>>({})
  readonly activity = shallowReactive<Record<string, SlotActivity>>({})
  private readonly link: MediaLink
  private readonly seen_ms = new Map<string, number>()
  private readonly counter = new SeenCounter()
  private latest = new Map<string, Record<string, unknown>>()
  private slots: MediaGrant['slots']
  private sampler: ReturnType<typeof setInterval> | undefined

  constructor(
    grant: MediaGrant,
    renew: () => Promise<MediaGrant>,
    private readonly wanted: (slot: SlotGrant) => boolean = () => true,
  ) {
    this.slots = grant.slots.filter(wanted)
    this.link = new MediaLink({
      label: 'play',
      grant,
      renew,
      prepare: (peer, current) => this.prepare(peer, current),
      ready: (peer) => this.take(peer),
      status: (status) => Object.assign(this.status, status),
    })
  }

  async open(): Promise<void> {
    this.sampler = setInterval(() => void this.sample(), SAMPLE_EVERY_MS)
    await this.link.open()
  }

  close(): void {
    clearInterval(this.sampler)
    this.link.close()
  }

  get connection(): RTCPeerConnection | null {
    return this.link.connection
  }

  /** What was counted of each slot that receives since this was asked last. */
  takeSeen(): Record<string, SlotSeen> {
    return this.counter.take(this.latest)
  }

  private prepare(peer: RTCPeerConnection, grant: MediaGrant): void {
    this.slots = grant.slots.filter(this.wanted)
    for (const slot of this.slots) peer.addTransceiver(slot.kind, { direction: 'recvonly' })
  }

  private take(peer: RTCPeerConnection): void {
    peer.getTransceivers().forEach((transceiver, index) => {
      const slot = this.slots[index]
      if (!slot) return
      const { track } = transceiver.receiver
      // After a move to another node the old picture stays until the new one has something to show.
      const before = this.tracks[slot.name]
      if (track.muted && before?.readyState === 'live') {
        track.addEventListener('unmute', () => this.link.connection === peer && (this.tracks[slot.name] = track), { once: true })
      } else this.tracks[slot.name] = track
    })
  }

  private async sample(): Promise<void> {
    const peer = this.link.connection
    if (!peer || peer.connectionState !== 'connected') return
    const reports = await peer.getStats()
    const by_mid = new Map<string, Record<string, number | string>>()
    for (const report of reports.values()) {
      const one = report as Record<string, number | string>
      if (one['type'] === 'inbound-rtp' && typeof one['mid'] === 'string') by_mid.set(one['mid'], one)
    }
    const now_ms = performance.now()
    const latest = new Map<string, Record<string, unknown>>()
    peer.getTransceivers().forEach((transceiver, index) => {
      const name = this.slots[index]?.name
      if (!name) return
      const report = by_mid.get(transceiver.mid ?? '')
      if (report) latest.set(name, report)
      const bytes = Number(report?.['bytesReceived'] ?? 0)
      const before = this.activity[name]
      if (bytes > 0 && bytes !== before?.bytes) this.seen_ms.set(name, now_ms)
      const seen_ms = this.seen_ms.get(name)
      this.activity[name] = {
        bytes,
        frames: Number(report?.['framesDecoded'] ?? 0),
        width: Number(report?.['frameWidth'] ?? 0),
        height: Number(report?.['frameHeight'] ?? 0),
        flowing: seen_ms !== undefined && now_ms - seen_ms < QUIET_AFTER_MS,
      }
    })
    this.latest = latest
  }
}
