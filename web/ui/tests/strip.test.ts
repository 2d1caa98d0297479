import { describe, expect, it } from 'vitest'
import { clockText, creditedSeconds, lostByReason, percent, stripPieces } from '../src/credit/strip'
import type { CreditInterval } from '../src/protocol'

const part = (from_ms: number, to_ms: number, reason: string | null = null): CreditInterval => ({ from_ms, to_ms, credited: reason === null, reason })

describe('the credit strip', () => {
  it('places pieces as shares of the lesson', () => {
    const pieces = stripPieces([part(0, 25_000), part(25_000, 50_000, 'no_face')], 0, 100_000)
    expect(pieces.map((one) => [one.left, one.width, one.credited])).toEqual([[0, 25, true], [25, 25, false]])
  })

  it('cuts what lies outside the lesson', () => {
    const pieces = stripPieces([part(-10_000, 10_000), part(90_000, 200_000)], 0, 100_000)
    expect(pieces.map((one) => [one.from_ms, one.to_ms])).toEqual([[0, 10_000], [90_000, 100_000]])
  })

  it('joins neighbours of one kind and never draws a moment twice', () => {
    const pieces = stripPieces([part(10_000, 30_000), part(0, 20_000), part(30_000, 40_000)], 0, 40_000)
    expect(pieces).toHaveLength(1)
    expect(pieces[0]?.width).toBe(100)
  })

  it('has nothing to draw before a lesson has begun', () => {
    expect(stripPieces([part(0, 1)], 5, 5)).toEqual([])
  })

  it('adds up the union, so overlaps never exceed wall time (R-060)', () => {
    expect(creditedSeconds([part(0, 10_000), part(5_000, 15_000), part(20_000, 30_000), part(0, 60_000, 'no_face')])).toBe(25)
  })

  it('names losses by reason, longest first, and leaves open time out while live', () => {
    const intervals = [part(0, 5_000, 'no_face'), part(5_000, 25_000, 'ping_missed'), part(25_000, 30_000, 'no_face'), part(30_000, 90_000, 'after_last_evidence')]
    expect(lostByReason(intervals, true)).toEqual([{ reason: 'ping_missed', seconds: 20 }, { reason: 'no_face', seconds: 10 }])
    expect(lostByReason(intervals, false)[0]).toEqual({ reason: 'after_last_evidence', seconds: 60 })
  })

  it('writes times as people read them', () => {
    expect([0, 59.9, 60, 754, 3600, 3661, -5].map(clockText)).toEqual(['0:00', '0:59', '1:00', '12:34', '1:00:00', '1:01:01', '0:00'])
  })

  it('keeps shares within the bar', () => {
    expect([percent(5, 10), percent(15, 10), percent(-1, 10), percent(1, 0)]).toEqual([50, 100, 0, 0])
  })
})
