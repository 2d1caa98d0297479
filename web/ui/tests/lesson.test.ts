import { beforeEach, describe, expect, it } from 'vitest'
import { applyEnvelope, applyJoined, emptyLesson, type LessonView } from '../src/live/lesson'
import type { ChatMessage } from '../src/protocol'
import { envelope, joined, lessonFacts, NOW_MS, person } from './facts'

const message = (id: string, at_ms: number): ChatMessage => ({ message_id: id, person_id: 'other', name: 'o', role: 'learner', text: id, at_ms })
const plain = (view: LessonView): unknown => JSON.parse(JSON.stringify(view))

describe('the lesson as a fold over its envelopes', () => {
  let view: LessonView

  beforeEach(() => {
    view = emptyLesson()
    applyJoined(view, joined())
  })

  it('applies an envelope once: the second time changes nothing', () => {
    const posted = envelope(11, 'chat.posted', { message: message('m1', NOW_MS) })
    expect(applyEnvelope(view, posted)).toBe(true)
    const before = plain(view)
    expect(applyEnvelope(view, posted)).toBe(false)
    expect(plain(view)).toEqual(before)
    expect(view.chat).toHaveLength(1)
  })

  it('ignores what is older than the newest applied', () => {
    applyEnvelope(view, envelope(20, 'participant.changed', { participant: person('other', { hand_raised: true }) }))
    expect(applyEnvelope(view, envelope(15, 'participant.changed', { participant: person('other', { hand_raised: false }) }))).toBe(false)
    expect(view.participants['other']?.hand_raised).toBe(true)
    expect(view.seq).toBe(20)
  })

  it('takes a snapshot again after a reconnection without doubling the chat', () => {
    applyEnvelope(view, envelope(11, 'chat.posted', { message: message('m1', NOW_MS) }))
    applyJoined(view, joined({ seq: 14, chat: [message('m0', NOW_MS - 5), message('m1', NOW_MS), message('m2', NOW_MS + 5)] }))
    expect(view.chat.map((one) => one.message_id)).toEqual(['m0', 'm1', 'm2'])
    expect(view.seq).toBe(14)
  })

  it('opens and closes a ping, and remembers how it ended', () => {
    applyEnvelope(view, envelope(11, 'ping.opened', { ping: { ping_id: 'p', opened_at_ms: 1, closes_at_ms: 2 } }))
    expect(view.ping?.ping_id).toBe('p')
    applyEnvelope(view, envelope(12, 'ping.closed', { ping_id: 'p', answered: false }))
    expect(view.ping).toBeNull()
    expect(view.pingEnded).toEqual({ ping_id: 'p', answered: false })
  })

  it('does not close a newer ping for an older one', () => {
    applyEnvelope(view, envelope(11, 'ping.opened', { ping: { ping_id: 'new', opened_at_ms: 1, closes_at_ms: 2 } }))
    applyEnvelope(view, envelope(12, 'ping.closed', { ping_id: 'old', answered: true }))
    expect(view.ping?.ping_id).toBe('new')
  })

  it('keeps the newest stage, in whatever order it is told', () => {
    const guest = { person_id: 'other', name: 'o', voice: 'voice0', granted_at_ms: NOW_MS, muted: false }
    const stage = { guests: [guest], speaking: ['other'], dominant: 'other', shown: 'other', version_ms: 7 }
    applyEnvelope(view, envelope(11, 'stage.speaking', { person_id: 'other', speaking: true, stage }))
    expect(view.stage.dominant).toBe('other')
    applyEnvelope(view, envelope(12, 'stage.changed', { stage: { ...stage, guests: [], version_ms: 5 }, act: 'granted', person_id: 'other', by: 'i' }))
    expect(view.stage.guests).toEqual([guest])
    applyEnvelope(view, envelope(13, 'stage.changed', { stage: { ...stage, guests: [], version_ms: 9 }, act: 'taken', person_id: 'other', by: 'i' }))
    expect(view.stage.guests).toEqual([])
  })

  it('keeps one’s own quiz result when everyone’s copy follows', () => {
    const item = { question_id: 'q', text: 'q', options: ['a'], correct: [0], chosen: [0], right: true, explanation: '' }
    applyEnvelope(view, envelope(11, 'quiz.closed', { quiz_id: 'z', hour_index: 0, score: 100, items: [item], mean_score: null }, 'person:me'))
    applyEnvelope(view, envelope(12, 'quiz.closed', { quiz_id: 'z', hour_index: 0, score: null, items: [], mean_score: 70 }))
    expect(view.quizResult?.score).toBe(100)
  })

  it('shows a face check to the learner it concerns and to nobody else', () => {
    applyEnvelope(view, envelope(11, 'check.announced', { check_id: 'c', person_id: 'other', taken_at_ms: 5 }))
    expect(view.face).toBeNull()
    applyEnvelope(view, envelope(12, 'check.announced', { check_id: 'c2', person_id: 'me', taken_at_ms: 6 }))
    applyEnvelope(view, envelope(13, 'check.result', { check_id: 'c2', person_id: 'me', outcome: 'MATCH', distance: 0.3, at_ms: 7, note: null }))
    expect(view.face?.stage).toBe('judged')
    expect(view.face?.taken_at_ms).toBe(6)
  })

  it('lets a class that ends take the open ping and quiz with it', () => {
    applyEnvelope(view, envelope(11, 'ping.opened', { ping: { ping_id: 'p', opened_at_ms: 1, closes_at_ms: 2 } }))
    applyEnvelope(view, envelope(12, 'class.ended', { lesson: lessonFacts({ state: 'ended', ended_at_ms: NOW_MS }) }))
    expect(view.ping).toBeNull()
    expect(view.lesson?.state).toBe('ended')
  })

  it('lists an alarm once, however often the row is told', () => {
    applyJoined(view, joined({ you: person('proctor', { role: 'proctor' }), seq: 20 }))
    const row = person('other', { alarm: 'no_face', state: 'away' })
    applyEnvelope(view, envelope(21, 'participant.changed', { participant: row }, 'staff'))
    applyEnvelope(view, envelope(22, 'participant.changed', { participant: person('other') }, 'all'))
    applyEnvelope(view, envelope(23, 'participant.changed', { participant: { ...row, hand_raised: true } }, 'staff'))
    expect(view.alarms.map((one) => one.reason)).toEqual(['no_face'])
    expect(view.participants['other']?.state).toBe('away')
  })

  it('begins anew from a snapshot even when the server counts from a lower number', () => {
    applyEnvelope(view, envelope(99, 'chat.posted', { message: message('m1', NOW_MS) }))
    applyJoined(view, joined({ seq: 3 }))
    expect(applyEnvelope(view, envelope(4, 'chat.posted', { message: message('m2', NOW_MS + 1) }))).toBe(true)
  })
})
