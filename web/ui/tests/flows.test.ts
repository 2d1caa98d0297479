import { describe, expect, it } from 'vitest'
import { SeenCounter } from '../src/media/seen'
import {
  extended, KEPT_POINTS, lossText, matching, rateText, rowsOf, worstFirst,
  type EncodingFlow, type NodeFlow, type Operations, type Point, type SlotFlow, type ViewerFlow,
} from '../src/operations/flows'

const encoding = (changes: Partial<EncodingFlow> = {}): EncodingFlow => ({
  kind: 'video', rid: null, codec: 'vp8', height_px: 360, packets: 1000, payload_bytes: 100_000, frames: 300, lost: 10, jitter_ms: 3, keyframes: 2, nacks_sent: 0, plis_sent: 1, last_packet_age_ms: 20, ...changes,
})
const slot = (changes: Partial<SlotFlow> = {}): SlotFlow => ({
  name: 'camera', kind: 'video', source: 'l1.lecture', slot_height_px: null, shown_height_px: 360, layer: 0, wanted_layer: 0, target_bps: null, packets: 10, payload_bytes: 1000, retransmitted: 0, nacks_received: 0, plis_received: 0, loss: 0, why: ['best'], seen: null, ...changes,
})
const viewer = (changes: Partial<ViewerFlow> = {}): ViewerFlow => ({
  id: 'v1', node_id: 'm1', person_id: 'p1', name: '陈立新', state: 'connected', path: 'udp', rtt_ms: 30, loss: 0, estimate_bps: null, seat: 's1', seen_over_ms: null, slots: [slot()], ...changes,
})
const node = (changes: Partial<NodeFlow> = {}): NodeFlow => ({
  node_id: 'm1', public_url: 'http://m1', started_at_ms: 0, answers: true, draining: false, sessions: 2, max_sessions: 100, cpu: 0.1, tx_bps: 800_000, at_ms: 10_000, memory_bytes: 1, publications: 1, viewers: 1, unsent_events: 0, redis_failures: 0, counters: { tx_datagrams: 1000, rx_datagrams: 500, rx_bytes: 1000, tx_dropped: 1 }, ...changes,
})
function answer(at_ms: number, encodings: EncodingFlow[], viewers: ViewerFlow[], counters = node().counters): Operations {
  const publication = { id: 'l1.lecture', node_id: 'm1', person_id: 't1', name: '王建国', state: 'connected', path: 'udp', rtt_ms: 1, loss: 0, estimate_bps: null, encodings }
  return { nodes: [node({ at_ms, counters })], lessons: [{ lesson_id: 'l1', title: '第一课', class_name: '一班', organisation: '甲矿', publications: [publication], viewers }] }
}

describe('rows of the operators’ page', () => {
  const before = answer(10_000, [encoding()], [viewer()])
  const now = answer(
    12_000,
    [encoding({ packets: 1190, payload_bytes: 350_000, frames: 350, lost: 20 })],
    [viewer({ slots: [slot({ payload_bytes: 251_000 })] })],
    { tx_datagrams: 1500, rx_datagrams: 600, rx_bytes: 26_000, tx_dropped: 4 },
  )

  it('have rates since the answer before, by the node’s own clock', () => {
    const rows = rowsOf(now, before)
    expect(rows.nodes[0]).toMatchObject({ tx_pps: 250, rx_pps: 50, rx_bps: 100_000, dropped: 3 })
    expect(rows.lessons[0]?.publications[0]?.encodings[0]).toMatchObject({ bps: 1_000_000, fps: 25, loss: 0.05 })
    expect(rows.lessons[0]?.viewers[0]).toMatchObject({ bps: 1_000_000, problems: [] })
  })

  it('have none without an answer before or when counters began anew', () => {
    expect(rowsOf(now, null).lessons[0]?.viewers[0]?.bps).toBeNull()
    const rows = rowsOf(before, now)
    expect(rows.lessons[0]?.publications[0]?.encodings[0]?.bps).toBeNull()
    expect(rows.nodes[0]?.tx_pps).toBeNull()
  })

  it('name problems once, the most telling first, and not what is meant to be', () => {
    const seen = { frames: 200, dropped: 0, freezes: 2, frozen_ms: 900, concealed_ms: 0, height_px: 360, jitter_buffer_ms: 80 }
    const slots = [
      slot({ name: 'camera', why: ['froze', 'loss_high', 'bandwidth'], seen }),
      slot({ name: 'screen', why: ['no_source'] }),
      slot({ name: 'w0', why: ['slot_small'] }),
      slot({ name: 'guest', source: null, why: ['nothing_asked'] }),
      slot({ name: 'w1', why: ['loss_high', 'a_new_reason'] }),
    ]
    const row = rowsOf(answer(1, [], [viewer({ slots })]), null).lessons[0]?.viewers[0]
    expect(row).toMatchObject({ problems: ['froze', 'loss_high', 'bandwidth', 'a_new_reason'], freezes: 2, frozen_ms: 900 })
  })

  it('put viewers with problems first', () => {
    const viewers = [
      viewer({ id: 'well' }),
      viewer({ id: 'small', slots: [slot({ why: ['bandwidth'] })] }),
      viewer({ id: 'gone', slots: [slot({ why: ['not_connected'] })] }),
    ]
    const rows = rowsOf(answer(1, [], viewers), null).lessons[0]?.viewers ?? []
    expect(worstFirst(rows).map((row) => row.id)).toEqual(['gone', 'small', 'well'])
  })

  it('are found by person and by lesson, and by having a problem', () => {
    const viewers = [viewer(), viewer({ id: 'v2', person_id: 'p2', name: '刘志强', slots: [slot({ why: ['froze'] })] })]
    const { lessons } = rowsOf(answer(1, [encoding()], viewers), null)
    const ids = (search: string, troubled = false): string[] => matching(lessons, search, troubled).flatMap((lesson) => lesson.viewers.map((row) => row.id))
    expect(ids('')).toEqual(['v1', 'v2'])
    expect(ids('刘')).toEqual(['v2'])
    expect(ids('甲矿')).toEqual(['v1', 'v2'])
    expect(ids('', true)).toEqual(['v2'])
    expect(matching(lessons, '王建国', false)[0]?.publications).toHaveLength(1)
    expect(matching(lessons, '没有这个人', false)).toEqual([])
  })

  it('keep five minutes of who is here, and nothing of who is gone', () => {
    let histories = new Map<string, Point[]>([['viewer gone', [{ at_ms: 0, bps: 1, loss: 0 }]]])
    for (let n = 0; n < KEPT_POINTS + 5; n += 1) histories = extended(histories, rowsOf(now, before), n * 2000)
    expect([...histories.keys()].sort()).toEqual(['node m1', 'viewer v1'])
    expect(histories.get('viewer v1')).toHaveLength(KEPT_POINTS)
    expect(histories.get('viewer v1')?.at(-1)?.bps).toBe(1_000_000)
  })

  it('write rates and losses as people read them', () => {
    expect([null, 0, 64_400, 999_600, 1_250_000, 25_000_000].map(rateText)).toEqual(['—', '0 kbit/s', '64 kbit/s', '1.0 Mbit/s', '1.3 Mbit/s', '25 Mbit/s'])
    expect([null, 0, 0.013, 0.2].map(lossText)).toEqual(['—', '0 %', '1.3 %', '20 %'])
  })
})

describe('what a browser tells of its slots', () => {
  const report = (changes: Record<string, number>): Record<string, number> => ({
    packetsReceived: 10, framesDecoded: 100, framesDropped: 2, freezeCount: 1, totalFreezesDuration: 0.5, concealedSamples: 9600, silentConcealedSamples: 4800, jitterBufferDelay: 8, jitterBufferEmittedCount: 100, frameHeight: 360, ...changes,
  })

  it('is the difference to the last time', () => {
    const counter = new SeenCounter()
    expect(counter.take([['camera', report({})]])['camera']).toEqual({ frames: 100, dropped: 2, freezes: 1, frozen_ms: 500, concealed_ms: 100, height_px: 360, jitter_buffer_ms: 80 })
    const later = report({ framesDecoded: 350, framesDropped: 2, freezeCount: 3, totalFreezesDuration: 1.25, jitterBufferDelay: 18, jitterBufferEmittedCount: 350, frameHeight: 720 })
    expect(counter.take([['camera', later]])['camera']).toEqual({ frames: 250, dropped: 0, freezes: 2, frozen_ms: 750, concealed_ms: 0, height_px: 720, jitter_buffer_ms: 40 })
  })

  it('begins anew with a new connection and leaves out slots that receive nothing', () => {
    const counter = new SeenCounter()
    counter.take([['camera', report({})]])
    expect(counter.take([['camera', report({ framesDecoded: 5, freezeCount: 0, totalFreezesDuration: 0, jitterBufferEmittedCount: 5, jitterBufferDelay: 1 })]])['camera']).toMatchObject({ frames: 5, freezes: 0, frozen_ms: 0 })
    expect(counter.take([['screen', report({ packetsReceived: 0 })]])).toEqual({})
  })
})
