/** The arithmetic behind the credit strip: what to draw where, what it adds up to. Pure; times in server milliseconds. */

import type { CreditInterval } from '../protocol'

/** While the lesson is live this stretch is still open: the next evidence will decide it. */
export const AFTER_LAST_EVIDENCE = 'after_last_evidence'

export interface StripPiece {
  /** Per cent of the strip's width. */
  left: number
  width: number
  credited: boolean
  reason: string | null
  from_ms: number
  to_ms: number
}

/**
 * Pieces of `intervals` inside [from_ms, to_ms], left to right, neighbours of one kind joined. Overlaps are drawn once:
 * the earlier interval keeps the overlapped part.
 */
export function stripPieces(intervals: CreditInterval[], from_ms: number, to_ms: number): StripPiece[] {
  const span_ms = to_ms - from_ms
  if (span_ms <= 0) return []
  const pieces: StripPiece[] = []
  let reached = from_ms
  for (const interval of [...intervals].sort((a, b) => a.from_ms - b.from_ms)) {
    const start = Math.max(interval.from_ms, reached)
    const end = Math.min(interval.to_ms, to_ms)
    if (end <= start) continue
    reached = end
    const last = pieces.at(-1)
    if (last && last.to_ms === start && last.credited === interval.credited && last.reason === interval.reason) {
      last.to_ms = end
      last.width = ((last.to_ms - last.from_ms) / span_ms) * 100
      continue
    }
    pieces.push({
      left: ((start - from_ms) / span_ms) * 100,
      width: ((end - start) / span_ms) * 100,
      credited: interval.credited,
      reason: interval.reason,
      from_ms: start,
      to_ms: end,
    })
  }
  return pieces
}

/** Seconds credited: the union of the credited intervals, never more than wall time. */
export function creditedSeconds(intervals: CreditInterval[]): number {
  let total_ms = 0
  let reached = Number.NEGATIVE_INFINITY
  for (const interval of intervals.filter((one) => one.credited).sort((a, b) => a.from_ms - b.from_ms)) {
    const start = Math.max(interval.from_ms, reached)
    if (interval.to_ms > start) total_ms += interval.to_ms - start
    reached = Math.max(reached, interval.to_ms)
  }
  return total_ms / 1000
}

/** Seconds lost by reason, longest first; what is still open in a live lesson is not lost. */
export function lostByReason(intervals: CreditInterval[], live: boolean): { reason: string; seconds: number }[] {
  const lost = new Map<string, number>()
  for (const interval of intervals) {
    if (interval.credited || !interval.reason || (live && interval.reason === AFTER_LAST_EVIDENCE)) continue
    lost.set(interval.reason, (lost.get(interval.reason) ?? 0) + (interval.to_ms - interval.from_ms) / 1000)
  }
  return [...lost].map(([reason, seconds]) => ({ reason, seconds })).sort((a, b) => b.seconds - a.seconds)
}

/** `m:ss`, or `h:mm:ss` from an hour on; never negative. */
export function clockText(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds))
  const two = (value: number): string => String(value).padStart(2, '0')
  const hours = Math.floor(whole / 3600)
  const minutes = Math.floor((whole % 3600) / 60)
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`
}

/** Share in per cent, 0 … 100, of `part` in `whole`. */
export function percent(part: number, whole: number): number {
  return whole > 0 ? Math.min(100, Math.max(0, (part / whole) * 100)) : 0
}
