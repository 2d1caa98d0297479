/**
 * What this page knows of one lesson, as a pure fold over its envelopes: `applyJoined` takes a snapshot, `applyEnvelope`
 * one event. Both may be called again with what was applied before and change nothing then.
 */

import type {
  ChatMessage,
  CheckResult,
  CreditStrip,
  Envelope,
  FaultRecorded,
  Joined,
  LessonFacts,
  NoticePosted,
  OpenPing,
  OpenQuiz,
  Participant,
  QuizClosed,
  QuizProgress,
  Stage,
  RecordingFacts,
} from '../protocol'

export interface Notice extends NoticePosted {
  seq: number
  at_ms: number
}

export interface FaceNews {
  stage: 'announced' | 'judged'
  check_id: string
  taken_at_ms: number | null
  result: CheckResult | null
}

/** Something that a proctor should look at, newest last; one per person and moment. */
export interface Alarm {
  seq: number
  at_ms: number
  person_id: string
  name: string
  reason: string
}

export interface LessonView {
  seq: number
  you: Participant | null
  lesson: LessonFacts | null
  /** While the class closes (last roll call, check, quiz): by when at the latest. */
  ending_by_ms: number | null
  participants: Record<string, Participant>
  chat: ChatMessage[]
  ping: OpenPing | null
  /** The last ping that ended, and how. */
  pingEnded: { ping_id: string; answered: boolean } | null
  quiz: OpenQuiz | null
  quizProgress: QuizProgress | null
  quizResult: QuizClosed | null
  credit: CreditStrip | null
  face: FaceNews | null
  /** Latest verdict per learner, for staff. */
  verdicts: Record<string, CheckResult>
  notices: Notice[]
  faults: (FaultRecorded & { seq: number })[]
  alarms: Alarm[]
  slots: Record<string, Record<string, string | null>>
  /** Who has the floor beside the instructor, and who is heard. */
  stage: Stage
  /** How the lesson's recording stands; null for learners. */
  recording: RecordingFacts | null
}

const KEPT_CHAT = 500
const KEPT_ALARMS = 200

export function emptyLesson(): LessonView {
  return {
    seq: -1,
    you: null,
    lesson: null,
    ending_by_ms: null,
    participants: {},
    chat: [],
    ping: null,
    pingEnded: null,
    quiz: null,
    quizProgress: null,
    quizResult: null,
    credit: null,
    face: null,
    verdicts: {},
    notices: [],
    faults: [],
    alarms: [],
    slots: {},
    stage: { guests: [], speaking: [], dominant: null, shown: null, version_ms: 0 },
    recording: null,
  }
}

/** A snapshot replaces what can change; the chat is united by message id, so nothing older is lost. */
export function applyJoined(view: LessonView, joined: Joined): void {
  view.seq = joined.seq
  view.you = joined.you
  view.lesson = joined.lesson
  view.participants = {}
  for (const participant of joined.participants) view.participants[participant.person_id] = participant
  for (const message of joined.chat) addChat(view, message)
  view.ping = joined.open_ping
  view.quiz = joined.open_quiz
  if (joined.credit) view.credit = joined.credit
  view.stage = joined.stage
  view.recording = joined.recording
  for (const participant of joined.participants) {
    if (participant.alarm) noteAlarm(view, participant, joined.seq, participant.last_check_at_ms ?? joined.server_ms)
  }
}

/** Applies one event; false when it is not newer than what was applied. */
export function applyEnvelope(view: LessonView, envelope: Envelope): boolean {
  if (envelope.seq <= view.seq) return false
  view.seq = envelope.seq
  switch (envelope.type) {
    case 'class.started':
      view.lesson = envelope.data.lesson
      break
    case 'class.ending':
      view.ending_by_ms = envelope.data.ends_by_ms
      break
    case 'class.ended':
      view.lesson = envelope.data.lesson
      view.ending_by_ms = null
      view.ping = null
      view.quiz = null
      break
    case 'participant.changed':
      // Everyone's copy of a learner's row leaves out state and verdict; staff get the whole row right after it.
      if (envelope.to === 'all' && view.you?.role !== 'learner' && envelope.data.participant.role === 'learner') break
      changeParticipant(view, envelope.data.participant, envelope.seq, envelope.at_ms)
      break
    case 'chat.posted':
      addChat(view, envelope.data.message)
      break
    case 'ping.opened':
      view.ping = envelope.data.ping
      break
    case 'ping.closed':
      if (view.ping?.ping_id === envelope.data.ping_id) view.ping = null
      view.pingEnded = envelope.data
      break
    case 'quiz.opened':
      view.quiz = envelope.data.quiz
      view.quizResult = null
      view.quizProgress = null
      break
    case 'quiz.progress':
      view.quizProgress = envelope.data
      break
    case 'quiz.closed':
      if (view.quiz?.quiz_id === envelope.data.quiz_id) view.quiz = null
      // One's own copy carries the items; everyone's copy must not wipe it.
      if (view.quizResult?.quiz_id !== envelope.data.quiz_id || envelope.data.items.length > 0) view.quizResult = envelope.data
      break
    case 'check.announced':
      if (envelope.data.person_id === view.you?.person_id) {
        view.face = { stage: 'announced', check_id: envelope.data.check_id, taken_at_ms: envelope.data.taken_at_ms, result: null }
      }
      break
    case 'check.result':
      view.verdicts[envelope.data.person_id] = envelope.data
      if (envelope.data.person_id === view.you?.person_id) {
        const taken_at_ms = view.face?.check_id === envelope.data.check_id ? view.face.taken_at_ms : null
        view.face = { stage: 'judged', check_id: envelope.data.check_id, taken_at_ms, result: envelope.data }
      }
      break
    case 'notice.posted':
      view.notices.push({ ...envelope.data, seq: envelope.seq, at_ms: envelope.at_ms })
      break
    case 'slots.changed':
      view.slots[envelope.data.subscription_id] = { ...view.slots[envelope.data.subscription_id], ...envelope.data.slots }
      break
    case 'stage.changed':
    case 'stage.speaking':
      // Two web nodes may tell in another order than they changed it.
      if (envelope.data.stage.version_ms > view.stage.version_ms) view.stage = envelope.data.stage
      break
    case 'credit.changed':
      if (envelope.data.credit.person_id === view.you?.person_id) view.credit = envelope.data.credit
      break
    case 'recording.changed':
      view.recording = envelope.data
      break
    case 'fault.recorded':
      view.faults.push({ ...envelope.data, seq: envelope.seq })
      break
  }
  return true
}

function changeParticipant(view: LessonView, participant: Participant, seq: number, at_ms: number): void {
  const before = view.participants[participant.person_id]
  view.participants[participant.person_id] = participant
  if (participant.person_id === view.you?.person_id) view.you = participant
  if (participant.alarm && participant.alarm !== before?.alarm) noteAlarm(view, participant, seq, at_ms)
}

function noteAlarm(view: LessonView, participant: Participant, seq: number, at_ms: number): void {
  const reason = participant.alarm
  if (!reason) return
  const last = view.alarms.findLast((alarm) => alarm.person_id === participant.person_id)
  // The snapshot of a reconnection repeats alarms that are already listed.
  if (last && last.reason === reason && last.at_ms >= at_ms - 1000) return
  view.alarms.push({ seq, at_ms, person_id: participant.person_id, name: participant.name, reason })
  if (view.alarms.length > KEPT_ALARMS) view.alarms.splice(0, view.alarms.length - KEPT_ALARMS)
}

function addChat(view: LessonView, message: ChatMessage): void {
  if (view.chat.some((known) => known.message_id === message.message_id)) return
  const at = view.chat.findIndex((known) => known.at_ms > message.at_ms)
  if (at < 0) view.chat.push(message)
  else view.chat.splice(at, 0, message)
  if (view.chat.length > KEPT_CHAT) view.chat.splice(0, view.chat.length - KEPT_CHAT)
}
