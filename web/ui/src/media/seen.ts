/** What this browser counted of its received slots since it was asked last: a hint for operators (`media.seen`). */

import type { SlotSeen } from '../protocol'

/** The members of an `inbound-rtp` report that are used; all of them only grow but the height. */
interface Inbound {
  frames: number
  dropped: number
  freezes: number
  frozen_s: number
  concealed: number
  delay_s: number
  emitted: number
}

const SAMPLES_PER_MS = 48

function inboundOf(report: Record<string, unknown>): Inbound {
  const value = (name: string): number => Number(report[name] ?? 0)
  return {
    frames: value('framesDecoded'),
    dropped: value('framesDropped'),
    freezes: value('freezeCount'),
    frozen_s: value('totalFreezesDuration'),
    // Silence that nobody notices (DTX) is concealed too; only the audible part counts.
    concealed: Math.max(0, value('concealedSamples') - value('silentConcealedSamples')),
    delay_s: value('jitterBufferDelay'),
    emitted: value('jitterBufferEmittedCount'),
  }
}

export class SeenCounter {
  private before = new Map<string, Inbound>()

  /** Differences per slot since the last call; slots without a single packet are left out. Forgets what was counted
   * before when the counters fell, as they do with a new connection. */
  take(reports: Iterable<[slot: string, report: Record<string, unknown>]>): Record<string, SlotSeen> {
    const seen: Record<string, SlotSeen> = {}
    const now = new Map<string, Inbound>()
    for (const [slot, report] of reports) {
      if (!Number(report['packetsReceived'] ?? 0)) continue
      const found = inboundOf(report)
      const earlier = this.before.get(slot)
      const from = earlier && earlier.emitted <= found.emitted && earlier.frames <= found.frames ? earlier : null
      now.set(slot, found)
      const grown = (name: keyof Inbound): number => Math.max(0, found[name] - (from?.[name] ?? 0))
      const emitted = grown('emitted')
      seen[slot] = {
        frames: grown('frames'),
        dropped: grown('dropped'),
        freezes: grown('freezes'),
        frozen_ms: Math.round(grown('frozen_s') * 1000),
        concealed_ms: Math.round(grown('concealed') / SAMPLES_PER_MS),
        height_px: Number(report['frameHeight'] ?? 0),
        jitter_buffer_ms: emitted > 0 ? Math.round((grown('delay_s') / emitted) * 1000) : 0,
      }
    }
    this.before = now
    return seen
  }
}
