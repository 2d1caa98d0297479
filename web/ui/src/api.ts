/** The HTTP API of `anke web`: one typed function per route, one error type with a sentence in both languages. */

import type { Way } from './media/link'
import type { Operations } from './operations/flows'
import type { CreditStrip, LessonState, MediaGrant, PresenceState, RecordingState, Role } from './protocol'

/** What a person may be on the platform; in a lesson nobody is its operator. */
export type PersonRole = Role | 'operator'

export interface Person {
  id: string
  name: string
  roles: PersonRole[]
  organisation: string | null
}

export interface Me {
  person: Person
  face: { enrolled: boolean; status: string | null }
  consents: unknown[]
  /** May see the operators' page. */
  operates: boolean
}

export interface DemoAccount {
  role: Role
  login: string
  password: string
  name: string
  say: string
  say_en: string
}

export interface Demo {
  active: boolean
  clock_factor: number
  accounts: DemoAccount[]
  lesson_id: string | null
}

export interface LessonCard {
  lesson_id: string
  class_id: string
  title: string
  course: string
  class_name: string
  instructor: string
  state: LessonState
  starts_at_ms: number
  started_at_ms: number | null
  ended_at_ms: number | null
  planned_s: number
  hours: number
  clock_factor: number
  seconds_per_hour: number
  roles_here: Role[]
  my_credit_s: number | null
}

export interface ConsentText {
  version: string
  zh: string
  en: string
}

export interface ShotVerdict {
  ok: boolean
  problem: string | null
}

export interface Enrolment {
  enrolled: boolean
  shots: ShotVerdict[]
}

export interface ClassCard {
  class_id: string
  title: string
  course_id: string
  course: string
  hours: number
  term: string
  profile_id: string
  learners: number
  lessons: number
}

export interface ClassLearner {
  person_id: string
  login: string
  name: string
  credited_s: number
  hours: number
  needed_hours: number
  face_enrolled: boolean
}

export interface ClassDetail {
  row: ClassCard
  learners: ClassLearner[]
  lessons: LessonCard[]
}

export interface Course {
  course_id: string
  title: string
  hours: number
}

export interface Instructor {
  person_id: string
  name: string
}

/** One line of a learners' list after it was sent; `password` only where the platform made one, shown this once. */
export interface AddedLearner {
  login: string
  person_id: string | null
  password: string | null
  problem: string | null
}

export interface ScoreRow {
  person_id: string
  name: string
  state: PresenceState
  credited_s: number
  attended_s: number
  needed_s: number
  pings: { sent: number; answered: number; missed: number }
  verdicts: Record<string, number>
  quiz_score: number | null
  reasons: string[]
}

/** A ledger entry; `body` holds what the evidence says (outcome, from_ms, to_ms, …). */
export interface EvidenceItem {
  chain: string
  idx: number
  at_ms: number
  kind: string
  hash: string
  body: Record<string, unknown>
}

export interface CreditDetail {
  credit: CreditStrip
  evidence: EvidenceItem[]
}

export interface VerifyReport {
  result: 'identical' | 'different' | 'broken'
  broken_row: { chain: string; idx: number } | null
  differences: Record<string, unknown>[]
  lines: string[]
}

export interface RecordingRendition {
  name: string
  container: string
  codecs: string
  width: number
  height: number
  segments: number
  duration_s: number
  bytes: number
}

/** Something that happened in class; `offset_s` is where in the recording, null when it was not being recorded. */
export interface RecordingMark {
  at_ms: number
  kind: string
  who: string
  text: string
  detail: string
  offset_s: number | null
}

export interface Recording {
  lesson_id: string
  title: string
  state: RecordingState
  reason: string
  staff: boolean
  duration_s: number
  begins_at_ms: number
  renditions: RecordingRendition[]
  interruptions: { from_ms: number; to_ms: number; reason: string }[]
  marks: RecordingMark[]
  watched_s: number
  seal: string | null
}

/** One learner's player: what it was handed, what of it is confirmed as watched, what it is asked now. */
export interface Replay {
  replay_id: string
  issued_s: number
  watched_s: number
  challenge_id: string | null
  challenge_closes_at_ms: number | null
  server_ms: number
  credit: 'none'
}

/** A refused or failed request. `code` is stable; `offline` and `server` are made here when no body came back. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly message_zh: string | null,
    readonly message_en: string | null,
    readonly body: unknown = null,
  ) {
    super(message_en ?? code)
  }
}

let onSignedOut: (code: string) => void = () => undefined

/** Called with the error code whenever the server says that this session is over. */
export function whenSignedOut(react: (code: string) => void): void {
  onSignedOut = react
}

interface Options {
  method?: 'GET' | 'POST' | 'DELETE'
  body?: unknown
  timeout_ms?: number
  /** A status other than 2xx whose body is an answer all the same. */
  accept?: number
}

async function request<T>(path: string, { method = 'GET', body, timeout_ms = 15_000, accept }: Options = {}): Promise<T> {
  let response: Response
  try {
    response = await fetch(path, {
      method,
      credentials: 'same-origin',
      headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(timeout_ms),
    })
  } catch (error) {
    const code = error instanceof DOMException && error.name === 'TimeoutError' ? 'timeout' : 'offline'
    throw new ApiError(0, code, null, null)
  }
  const text = await response.text()
  let parsed: unknown = null
  try {
    parsed = text ? JSON.parse(text) : null
  } catch {
    // A proxy's HTML error page: the status is all that is known.
    parsed = null
  }
  if (response.ok || response.status === accept) return parsed as T
  const error = (parsed as { error?: { code?: string; message?: string; message_en?: string } } | null)?.error
  const code = error?.code ?? (response.status >= 500 ? 'server' : `http_${response.status}`)
  if (response.status === 401 && path !== '/api/sign-in') onSignedOut(code)
  throw new ApiError(response.status, code, error?.message ?? null, error?.message_en ?? null, parsed)
}

const id = encodeURIComponent

export const api = {
  signIn: (login: string, password: string) =>
    request<{ token: string; person: Person }>('/api/sign-in', { method: 'POST', body: { login, password } }),
  signOut: () => request<unknown>('/api/sign-out', { method: 'POST' }),
  me: () => request<Me>('/api/me'),
  demo: () => request<Demo>('/api/demo'),
  lessons: () => request<LessonCard[]>('/api/lessons'),
  lesson: (lesson_id: string) => request<LessonCard>(`/api/lessons/${id(lesson_id)}`),
  consentText: () => request<ConsentText>('/api/consents/text'),
  giveConsent: (purpose: string, version: string) =>
    request<unknown>('/api/consents', { method: 'POST', body: { purpose, version } }),
  withdrawConsent: (purpose: string) => request<unknown>(`/api/consents/${id(purpose)}`, { method: 'DELETE' }),
  enrolFace: (shots: string[]) =>
    request<Enrolment>('/api/me/face', { method: 'POST', body: { shots }, timeout_ms: 30_000, accept: 422 }),
  forgetFace: () => request<unknown>('/api/me/face', { method: 'DELETE' }),
  probe: () => request<{ ways: Record<Way, MediaGrant> }>('/api/probe'),
  mediaHealth: () => request<{ nodes: unknown[] }>('/api/media-health'),
  classes: () => request<ClassCard[]>('/api/classes'),
  classDetail: (class_id: string) => request<ClassDetail>(`/api/classes/${id(class_id)}`),
  courses: () => request<Course[]>('/api/courses'),
  instructors: () => request<Instructor[]>('/api/instructors'),
  createClass: (body: { course_id: string; title: string; term?: string }) =>
    request<{ id: string }>('/api/classes', { method: 'POST', body }),
  addLearners: (class_id: string, people: { login: string; name: string; password?: string }[]) =>
    request<AddedLearner[]>(`/api/classes/${id(class_id)}/learners`, { method: 'POST', body: { people }, timeout_ms: 120_000 }),
  createLesson: (class_id: string, body: { title: string; instructor_id: string; starts_at_ms: number; hours: number }) =>
    request<{ id: string }>(`/api/classes/${id(class_id)}/lessons`, { method: 'POST', body }),
  scoreBoard: (lesson_id: string) => request<ScoreRow[]>(`/api/lessons/${id(lesson_id)}/score-board`),
  credit: (lesson_id: string, person_id: string) =>
    request<CreditDetail>(`/api/lessons/${id(lesson_id)}/credit/${id(person_id)}`),
  operations: () => request<Operations>('/api/operations'),
  verify: (lesson_id: string) => request<VerifyReport>(`/api/lessons/${id(lesson_id)}/verify`, { timeout_ms: 60_000 }),
  recording: (lesson_id: string) => request<Recording>(`/api/lessons/${id(lesson_id)}/recording`),
  recordingUrl: (lesson_id: string, rendition: string) => `/api/lessons/${id(lesson_id)}/recording/${id(rendition)}.m3u8`,
  liveUrl: (lesson_id: string, rendition: string) => `/api/lessons/${id(lesson_id)}/live/${id(rendition)}.m3u8`,
  openReplay: (lesson_id: string) => request<Replay>(`/api/lessons/${id(lesson_id)}/replay`, { method: 'POST' }),
  replay: (replay_id: string) => request<Replay>(`/api/replays/${id(replay_id)}`),
  answerReplay: (replay_id: string, challenge_id: string) =>
    request<Replay>(`/api/replays/${id(replay_id)}/answer`, { method: 'POST', body: { challenge_id } }),
  replayUrl: (replay_id: string, rendition: string) => `/api/replays/${id(replay_id)}/${id(rendition)}.m3u8`,
  exportUrl: (lesson_id: string) => `/api/lessons/${id(lesson_id)}/export.xlsx`,
}
