// Generated from signaling/protocol.py by `python -m signaling.typescript`; edit that file instead.

export const LESSON_NAMESPACE = "/lesson";
export const ENVELOPE_EVENT = "event";
export const SEAT_ENDED_EVENT = "seat.ended";
export const MEDIA_MOVED_EVENT = "media.moved";

/** Stable codes of refused calls; the sentences are in `signaling/sentences.py`, in Chinese and English. */
export const ERROR_CODE_VALUES = ["sign_in_required", "not_found", "bad_payload", "wrong_state", "seat_taken", "consent_required", "face_required", "too_late", "too_fast", "media_unavailable", "try_again", "floor_full", "no_hand"] as const;
export type ErrorCode = (typeof ERROR_CODE_VALUES)[number];

export const ROLE_VALUES = ["learner", "instructor", "proctor", "organiser"] as const;
export type Role = (typeof ROLE_VALUES)[number];

export const LESSON_STATE_VALUES = ["scheduled", "live", "ended"] as const;
export type LessonState = (typeof LESSON_STATE_VALUES)[number];

/** What the roster and the wall show of a learner, worst first. */
export const PRESENCE_STATE_VALUES = ["absent", "away", "unconfirmed", "present"] as const;
export type PresenceState = (typeof PRESENCE_STATE_VALUES)[number];

/** How a lesson's recording stands, for staff. */
export const RECORDING_STATE_VALUES = ["none", "starting", "recording", "waiting", "failing", "interrupted", "ready"] as const;
export type RecordingState = (typeof RECORDING_STATE_VALUES)[number];

export interface Participant {
  person_id: string;
  name: string;
  role: Role;
  state: PresenceState;
  connected: boolean;
  publishing: boolean;
  hand_raised: boolean;
  last_outcome: string | null;
  last_check_at_ms: number | null;
  credited_s: number;
  alarm: string | null;
  publication_id: string | null;
}

/** A learner who has the floor. `muted`: the microphone was taken, until the floor is granted anew. */
export interface Guest {
  person_id: string;
  name: string;
  voice: string;
  granted_at_ms: number;
  muted: boolean;
}

/** Who speaks in class beside the instructor, and who is heard right now. */
export interface Stage {
  guests: Guest[];
  speaking: string[];
  dominant: string | null;
  shown: string | null;
  version_ms: number;
}

/** The numbers of the rule profile that people see; already scaled by `clock_factor`. */
export interface ProfileFacts {
  profile_id: string;
  title: string;
  title_en: string;
  clock_factor: number;
  seconds_per_hour: number;
  daily_cap_hours: number;
  questions_per_hour: number;
  pass_score: number;
  ping_window_s: number;
  max_gap_s: number;
}

export interface LessonFacts {
  lesson_id: string;
  title: string;
  course: string;
  class_name: string;
  instructor: string;
  state: LessonState;
  started_at_ms: number | null;
  ended_at_ms: number | null;
  planned_s: number;
  profile: ProfileFacts;
}

/** One stretch of the credit strip. `reason` is None where credited, else why not (coded). */
export interface CreditInterval {
  from_ms: number;
  to_ms: number;
  credited: boolean;
  reason: string | null;
}

export interface CreditStrip {
  person_id: string;
  credited_s: number;
  attended_s: number;
  needed_s: number;
  state: PresenceState;
  intervals: CreditInterval[];
  asked_of_you: string | null;
}

export interface ChatMessage {
  message_id: string;
  person_id: string;
  name: string;
  role: Role;
  text: string;
  at_ms: number;
}

export interface OpenPing {
  ping_id: string;
  opened_at_ms: number;
  closes_at_ms: number;
}

/** A question as learners may see it while the quiz runs: never with its answer. */
export interface QuizQuestion {
  question_id: string;
  text: string;
  options: string[];
  multiple: boolean;
}

export interface OpenQuiz {
  quiz_id: string;
  hour_index: number;
  opened_at_ms: number;
  closes_at_ms: number;
  questions: QuizQuestion[];
  answered: Record<string, number[]>;
}

export interface QuizItemResult {
  question_id: string;
  text: string;
  options: string[];
  correct: number[];
  chosen: number[];
  right: boolean;
  explanation: string;
}

/** `reason` is coded or a technical text, "" when all is well; `at_ms`: when the recorder was last heard. */
export interface RecordingFacts {
  state: RecordingState;
  reason: string;
  at_ms: number;
  bytes: number;
}

/** Where and with which token to publish (WHIP) or play (WHEP); `slots` in the order of the offer's m-lines. */
export interface MediaGrant {
  url: string;
  token: string;
  id: string;
  slots: SlotGrant[];
  ice_servers: IceServerGrant[];
}

/** As `RTCIceServer` wants it. */
export interface IceServerGrant {
  urls: string[];
  username: string;
  credential: string;
}

export interface SlotGrant {
  name: string;
  kind: "audio" | "video";
}

/** Takes the person's one seat in the lesson; the seat's earlier window ends. */
export interface Join {
  lesson_id: string;
  window_id: string;
  since?: number | null;
  as_role?: Role | null;
  wall_slots?: number;
}

export interface Joined {
  you: Participant;
  lesson: LessonFacts;
  participants: Participant[];
  seq: number;
  server_ms: number;
  publish: MediaGrant[];
  play: MediaGrant | null;
  chat: ChatMessage[];
  open_ping: OpenPing | null;
  open_quiz: OpenQuiz | null;
  credit: CreditStrip | null;
  stage: Stage;
  recording: RecordingFacts | null;
  missed: Envelope[];
}

/** A call or an answer without contents. */
export type Nothing = Record<never, never>;

export interface ChatSend {
  client_id: string;
  text: string;
}

export interface HandRaise {
  raised: boolean;
}

export interface PingAnswer {
  ping_id: string;
}

export interface PingAnswered {
  ping_id: string;
  accepted: boolean;
  at_ms: number;
}

/** The instructor opens the quiz of the running credit hour; questions are drawn by the server. */
export interface QuizPush {
  hour_index?: number | null;
}

export interface QuizPushed {
  quiz_id: string;
}

export interface QuizClose {
  quiz_id: string;
}

export interface QuizAnswer {
  quiz_id: string;
  question_id: string;
  chosen: number[];
}

export interface QuizAnswered {
  quiz_id: string;
  question_id: string;
  answered: number;
  of: number;
}

/** A proctor asks for a face check of one learner now. */
export interface CheckDemand {
  person_id: string;
}

export interface CheckDemanded {
  check_id: string;
}

export interface NoticeSend {
  person_id: string | null;
  text: string;
}

/** The learner whose floor is granted, taken, or whose microphone is taken. */
export interface FloorPerson {
  person_id: string;
}

export interface MediaGrants {
  publish: MediaGrant[];
  play: MediaGrant | null;
}

/** What a browser counted of one slot since its last `media.seen` (RTCInboundRtpStreamStats). */
export interface SlotSeen {
  frames: number;
  dropped: number;
  freezes: number;
  frozen_ms: number;
  concealed_ms: number;
  height_px: number;
  jitter_buffer_ms: number;
}

/** A hint for operators of how the class looks at this end, never evidence: whoever sends it may lie. */
export interface MediaSeen {
  over_ms: number;
  slots: Record<string, SlotSeen>;
}

/** Proctor: what each slot of one's wall subscription shows; unnamed slots stay as they are. */
export interface WallShow {
  subscription_id: string;
  slots: Record<string, string | null>;
}

export interface WallShown {
  shown: Record<string, string | null>;
}

export interface ClassStarted {
  lesson: LessonFacts;
}

/** The class closes: a last ping, face check and quiz run; it ends when all are in, at the latest then. */
export interface ClassEnding {
  ends_by_ms: number;
}

export interface ClassEnded {
  lesson: LessonFacts;
}

/** A participant joined, left, began to publish, changed state, raised a hand: the whole row, newest wins. */
export interface ParticipantChanged {
  participant: Participant;
}

export interface ChatPosted {
  message: ChatMessage;
}

export interface PingOpened {
  ping: OpenPing;
}

export interface PingClosed {
  ping_id: string;
  answered: boolean;
}

export interface QuizOpened {
  quiz: OpenQuiz;
}

/** For the instructor: how the answers come in. `right` counts per question are shown while it runs. */
export interface QuizProgress {
  quiz_id: string;
  learners: number;
  answered: Record<string, number>;
  right: Record<string, number>;
}

/** To everyone; `items` and `score` only in the learner's own copy. */
export interface QuizClosed {
  quiz_id: string;
  hour_index: number;
  score: number | null;
  items: QuizItemResult[];
  mean_score: number | null;
}

/** The frame has already been taken when the learner hears of it. */
export interface CheckAnnounced {
  check_id: string;
  person_id: string;
  taken_at_ms: number;
}

export interface CheckResult {
  check_id: string;
  person_id: string;
  outcome: string;
  distance: number | null;
  at_ms: number;
  note: string | null;
}

export interface NoticePosted {
  from_name: string;
  text: string;
}

export interface SlotsChanged {
  subscription_id: string;
  slots: Record<string, string | null>;
}

/** The floor was granted, taken, given back, or microphones were taken; `by` whom and from whom. */
export interface StageChanged {
  stage: Stage;
  act: "granted" | "taken" | "left" | "muted" | "muted_all" | "gone";
  person_id: string | null;
  by: string;
}

/** Someone began or stopped to speak. */
export interface StageSpeaking {
  person_id: string;
  speaking: boolean;
  stage: Stage;
}

export interface CreditChanged {
  credit: CreditStrip;
}

/** A fault on the server's side: nobody is marked absent for it. */
export interface FaultRecorded {
  what: string;
  from_ms: number;
  to_ms: number;
}

/** For staff: the recording began, waits, failed, goes on. */
export interface RecordingChanged {
  state: RecordingState;
  reason: string;
  at_ms: number;
  bytes: number;
}

export interface SeatEnded {
  reason: "second_window" | "second_sign_in" | "signed_out" | "removed";
}

/** Connections to the media node at `public_url` are to be built anew elsewhere, with renewed grants, each page at a moment of its own within `within_ms`; from a node that only drains the old one is closed when the new one is up. Without a number: whoever misses it notices by itself that the connection fails. */
export interface MediaMoved {
  public_url: string;
  reason: "draining" | "gone";
  within_ms: number;
}

export interface ErrorBody {
  code: ErrorCode;
  message: string;
  message_en: string;
}

/** What the page calls: event name → payload and result. */
export interface Calls {
  "join": { payload: Join; result: Joined };
  "leave": { payload: Nothing; result: Nothing };
  "chat.send": { payload: ChatSend; result: ChatMessage };
  "hand.raise": { payload: HandRaise; result: Nothing };
  "ping.answer": { payload: PingAnswer; result: PingAnswered };
  "quiz.answer": { payload: QuizAnswer; result: QuizAnswered };
  "media.renew": { payload: Nothing; result: MediaGrants };
  "media.seen": { payload: MediaSeen; result: Nothing };
  "class.start": { payload: Nothing; result: LessonFacts };
  "class.end": { payload: Nothing; result: LessonFacts };
  "quiz.push": { payload: QuizPush; result: QuizPushed };
  "quiz.close": { payload: QuizClose; result: Nothing };
  "check.demand": { payload: CheckDemand; result: CheckDemanded };
  "notice.send": { payload: NoticeSend; result: Nothing };
  "wall.show": { payload: WallShow; result: WallShown };
  "floor.grant": { payload: FloorPerson; result: Stage };
  "floor.take": { payload: FloorPerson; result: Stage };
  "floor.mute": { payload: FloorPerson; result: Stage };
  "floor.mute_all": { payload: Nothing; result: Stage };
  "floor.leave": { payload: Nothing; result: Stage };
}
export type CallName = keyof Calls;

/** What the server tells: envelope type → payload. */
export interface Tells {
  "class.started": ClassStarted;
  "class.ending": ClassEnding;
  "class.ended": ClassEnded;
  "participant.changed": ParticipantChanged;
  "chat.posted": ChatPosted;
  "ping.opened": PingOpened;
  "ping.closed": PingClosed;
  "quiz.opened": QuizOpened;
  "quiz.progress": QuizProgress;
  "quiz.closed": QuizClosed;
  "check.announced": CheckAnnounced;
  "check.result": CheckResult;
  "notice.posted": NoticePosted;
  "slots.changed": SlotsChanged;
  "stage.changed": StageChanged;
  "stage.speaking": StageSpeaking;
  "credit.changed": CreditChanged;
  "fault.recorded": FaultRecorded;
  "recording.changed": RecordingChanged;
}
export type TellType = keyof Tells;

export interface EnvelopeOf<T extends TellType> {
  seq: number;
  at_ms: number;
  type: T;
  to: string;
  data: Tells[T];
}
/** Narrowed by `type`: `if (envelope.type === "chat.posted") envelope.data.message`. */
export type Envelope = { [T in TellType]: EnvelopeOf<T> }[TellType];

/** The acknowledgement of a call. */
export type Answer<C extends CallName> =
  | ({ ok: true } & Calls[C]["result"])
  | { ok: false; error: ErrorBody };
