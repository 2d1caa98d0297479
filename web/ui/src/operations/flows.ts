/**
 * What the operators' page makes of two answers of `/api/operations`: rates, who has a problem, and a short history.
 * Pure: no clock, no network. Counters that fell (a stream began anew) give no rate for that span.
 */

export interface EncodingFlow {
  kind: string
  rid: string | null
  codec: string | null
  height_px: number | null
  packets: number
  payload_bytes: number
  frames: number | null
  lost: number
  jitter_ms: number
  keyframes: number
  nacks_sent: number
  plis_sent: number
  last_packet_age_ms: number | null
}

interface SessionFlow {
  id: string
  node_id: string
  person_id: string
  name: string | null
  state: string
  path: string
  rtt_ms: number | null
  loss: number | null
  estimate_bps: number | null
}

export interface PublicationFlow extends SessionFlow {
  encodings: EncodingFlow[]
}

export interface SlotSeen {
  frames: number
  dropped: number
  freezes: number
  frozen_ms: number
  concealed_ms: number
  height_px: number
  jitter_buffer_ms: number
}

export interface SlotFlow {
  name: string
  kind: string
  source: string | null
  slot_height_px: number | null
  shown_height_px: number | null
  layer: number | null
  wanted_layer: number | null
  target_bps: number | null
  packets: number
  payload_bytes: number
  retransmitted: number
  nacks_received: number
  plis_received: number
  loss: number
  why: string[]
  seen: SlotSeen | null
}

export interface ViewerFlow extends SessionFlow {
  seat: string
  seen_over_ms: number | null
  slots: SlotFlow[]
}

export interface LessonFlow {
  lesson_id: string
  title: string | null
  class_name: string | null
  organisation: string | null
  publications: PublicationFlow[]
  viewers: ViewerFlow[]
}

export interface NodeFlow {
  node_id: string
  public_url: string
  started_at_ms: number
  answers: boolean
  draining: boolean
  sessions: number
  max_sessions: number
  cpu: number
  tx_bps: number
  at_ms: number
  memory_bytes: number
  publications: number
  viewers: number
  unsent_events: number
  redis_failures: number
  counters: Record<string, number>
}

export interface Operations {
  nodes: NodeFlow[]
  lessons: LessonFlow[]
}

export interface EncodingRow extends EncodingFlow {
  bps: number | null
  fps: number | null
  /** Share of packets that did not come, over the last span. */
  loss: number | null
}

export interface PublicationRow extends Omit<PublicationFlow, 'encodings'> {
  encodings: EncodingRow[]
}

export interface SlotRow extends SlotFlow {
  bps: number | null
}

export interface ViewerRow extends Omit<ViewerFlow, 'slots'> {
  slots: SlotRow[]
  bps: number | null
  freezes: number | null
  frozen_ms: number | null
  /** Reasons over all slots that show something, the most telling first; empty when all is well. */
  problems: string[]
}

export interface NodeRow extends NodeFlow {
  rx_pps: number | null
  tx_pps: number | null
  rx_bps: number | null
  dropped: number | null
}

export interface LessonRows extends Omit<LessonFlow, 'publications' | 'viewers'> {
  publications: PublicationRow[]
  viewers: ViewerRow[]
}

export interface Rows {
  nodes: NodeRow[]
  lessons: LessonRows[]
}

/** What a reason says that is nothing to worry about: small because it is meant to be, or nothing to show. */
const CALM = new Set(['best', 'nothing_asked', 'no_source', 'slot_small'])
/** Most telling first; the order of `WHY` in `media/overview.py` with the browser's words before. */
const ORDER = [
  'not_connected', 'froze', 'device_slow', 'source_stalled', 'waiting_keyframe', 'paused_bandwidth', 'loss_high', 'rtt_high', 'bandwidth', 'layer_silent',
]
const DROPS = ['tx_dropped', 'parcels_dropped', 'events_dropped', 'dtls_dropped']

function rate(now: number, before: number | undefined, span_s: number): number | null {
  return before === undefined || span_s <= 0 || now < before ? null : (now - before) / span_s
}

const bits = (bytes_per_s: number | null): number | null => (bytes_per_s === null ? null : bytes_per_s * 8)

function sum(values: (number | null)[]): number | null {
  const known = values.filter((value) => value !== null)
  return known.length > 0 ? known.reduce((total, value) => total + value, 0) : null
}

function encodingRow(now: EncodingFlow, before: EncodingFlow | undefined, span_s: number): EncodingRow {
  const packets = rate(now.packets, before?.packets, span_s)
  const lost = rate(now.lost, before?.lost, span_s)
  return {
    ...now,
    bps: bits(rate(now.payload_bytes, before?.payload_bytes, span_s)),
    fps: now.frames === null ? null : rate(now.frames, before?.frames ?? undefined, span_s),
    loss: packets === null || lost === null || packets + lost === 0 ? null : lost / (packets + lost),
  }
}

function viewerRow(now: ViewerFlow, before: ViewerFlow | undefined, span_s: number): ViewerRow {
  const earlier = new Map(before?.slots.map((slot) => [slot.name, slot]))
  const slots = now.slots.map((slot) => ({ ...slot, bps: bits(rate(slot.payload_bytes, earlier.get(slot.name)?.payload_bytes, span_s)) }))
  const said = new Set(now.slots.filter((slot) => slot.source !== null).flatMap((slot) => slot.why))
  const seen = now.slots.filter((slot) => slot.kind === 'video').map((slot) => slot.seen)
  return {
    ...now,
    slots,
    bps: sum(slots.map((slot) => slot.bps)),
    freezes: sum(seen.map((one) => one?.freezes ?? null)),
    frozen_ms: sum(seen.map((one) => one?.frozen_ms ?? null)),
    problems: [...ORDER, ...[...said].filter((code) => !ORDER.includes(code) && !CALM.has(code))].filter((code) => said.has(code)),
  }
}

function nodeRow(now: NodeFlow, before: NodeFlow | undefined, span_s: number): NodeRow {
  const counted = (name: string): number | null => rate(now.counters[name] ?? 0, before?.counters[name], span_s)
  const drops = DROPS.map((name) => rate(now.counters[name] ?? 0, before?.counters[name], 1))
  return { ...now, rx_pps: counted('rx_datagrams'), tx_pps: counted('tx_datagrams'), rx_bps: bits(counted('rx_bytes')), dropped: sum(drops) }
}

/** The rows of `now`; rates are those since `before`, an earlier answer of the same nodes. */
export function rowsOf(now: Operations, before: Operations | null): Rows {
  const nodes = new Map(before?.nodes.map((node) => [node.node_id, node]))
  const spans = new Map(now.nodes.map((node) => [node.node_id, (node.at_ms - (nodes.get(node.node_id)?.at_ms ?? node.at_ms)) / 1000]))
  const span = (node_id: string): number => spans.get(node_id) ?? 0
  const publications = new Map(before?.lessons.flatMap((lesson) => lesson.publications).map((one) => [`${one.node_id} ${one.id}`, one]))
  const viewers = new Map(before?.lessons.flatMap((lesson) => lesson.viewers).map((one) => [`${one.node_id} ${one.id}`, one]))
  return {
    nodes: now.nodes.map((node) => nodeRow(node, nodes.get(node.node_id), span(node.node_id))),
    lessons: now.lessons.map((lesson) => ({
      ...lesson,
      publications: lesson.publications.map((one) => {
        const earlier = publications.get(`${one.node_id} ${one.id}`)
        return { ...one, encodings: one.encodings.map((encoding, index) => encodingRow(encoding, earlier?.encodings[index], span(one.node_id))) }
      }),
      viewers: lesson.viewers.map((one) => viewerRow(one, viewers.get(`${one.node_id} ${one.id}`), span(one.node_id))),
    })),
  }
}

/** Viewers with problems first, the rest by name as they came. */
export function worstFirst(viewers: ViewerRow[]): ViewerRow[] {
  const rank = (row: ViewerRow): number => (row.problems.length === 0 ? ORDER.length : ORDER.indexOf(row.problems[0] ?? ''))
  return viewers.map((row, index) => ({ row, index })).sort((a, b) => rank(a.row) - rank(b.row) || a.index - b.index).map(({ row }) => row)
}

/** Lessons and viewers that a search names: by person, lesson, class, organisation or id. */
export function matching(lessons: LessonRows[], search: string, troubledOnly: boolean): LessonRows[] {
  const wanted = search.trim().toLowerCase()
  const has = (...texts: (string | null)[]): boolean => texts.some((text) => text !== null && text.toLowerCase().includes(wanted))
  return lessons.flatMap((lesson) => {
    const whole = wanted === '' || has(lesson.title, lesson.class_name, lesson.organisation, lesson.lesson_id)
    const viewers = lesson.viewers.filter(
      (viewer) => (whole || has(viewer.name, viewer.person_id, viewer.id)) && (!troubledOnly || viewer.problems.length > 0),
    )
    const publications = lesson.publications.filter((one) => whole || has(one.name, one.person_id, one.id))
    return viewers.length > 0 || (publications.length > 0 && !troubledOnly) ? [{ ...lesson, publications, viewers }] : []
  })
}

export interface Point {
  at_ms: number
  bps: number | null
  loss: number | null
}

/** Five minutes at one point in two seconds. */
export const KEPT_POINTS = 150

/** Histories with this moment added, by `node …` or `viewer …`; of who is gone nothing is kept. */
export function extended(histories: Map<string, Point[]>, rows: Rows, at_ms: number): Map<string, Point[]> {
  const next = new Map<string, Point[]>()
  const add = (key: string, bps: number | null, loss: number | null): void => {
    next.set(key, [...(histories.get(key) ?? []), { at_ms, bps, loss }].slice(-KEPT_POINTS))
  }
  for (const node of rows.nodes) add(`node ${node.node_id}`, node.answers ? node.tx_bps : null, null)
  for (const lesson of rows.lessons) for (const viewer of lesson.viewers) add(`viewer ${viewer.id}`, viewer.bps, viewer.loss)
  return next
}

/** `1.2 Mbit/s`, `640 kbit/s`. */
export function rateText(bps: number | null): string {
  if (bps === null) return '—'
  if (bps >= 999_500) return `${(bps / 1e6).toFixed(bps >= 9.95e6 ? 0 : 1)} Mbit/s`
  return `${Math.round(bps / 1000)} kbit/s`
}

export function lossText(loss: number | null): string {
  if (loss === null) return '—'
  return `${(loss * 100).toFixed(loss > 0 && loss < 0.1 ? 1 : 0)} %`
}
