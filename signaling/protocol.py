"""The live contract: every Socket.IO event, payload and error code. `protocol.ts` is generated from this file.

Two directions:

* A client **calls** (`CALLS`): an event with one payload object, acknowledged with `{"ok": true, ...result}` or
  `{"ok": false, "error": {"code", "message", "message_en"}}`.
* The server **tells** (`TELLS`): always the one Socket.IO event `event` carrying an `Envelope`; `type` names the
  payload in `data`. `seq` numbers the lesson's event log (gaps are events meant for others). A client that
  reconnects calls `join` with `since` = the last `seq` it applied and receives every later envelope in order.

The only unnumbered server message is `seat.ended`: it ends this very connection and must not be replayed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

LESSON_NAMESPACE = "/lesson"
ENVELOPE_EVENT = "event"
SEAT_ENDED_EVENT = "seat.ended"
MEDIA_MOVED_EVENT = "media.moved"


class ErrorCode(StrEnum):
    """Stable codes of refused calls; the sentences are in `signaling/sentences.py`, in Chinese and English."""

    SIGN_IN_REQUIRED = "sign_in_required"
    NOT_FOUND = "not_found"  # absent and forbidden answer alike
    BAD_PAYLOAD = "bad_payload"
    WRONG_STATE = "wrong_state"
    SEAT_TAKEN = "seat_taken"
    CONSENT_REQUIRED = "consent_required"
    FACE_REQUIRED = "face_required"
    TOO_LATE = "too_late"
    TOO_FAST = "too_fast"
    MEDIA_UNAVAILABLE = "media_unavailable"
    TRY_AGAIN = "try_again"
    FLOOR_FULL = "floor_full"
    NO_HAND = "no_hand"


class Role(StrEnum):
    LEARNER = "learner"
    INSTRUCTOR = "instructor"
    PROCTOR = "proctor"
    ORGANISER = "organiser"


class Payload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# --- values shared by payloads ---------------------------------------------------------------------------------------


class LessonState(StrEnum):
    SCHEDULED = "scheduled"
    LIVE = "live"
    ENDED = "ended"


class PresenceState(StrEnum):
    """What the roster and the wall show of a learner, worst first."""

    ABSENT = "absent"  # not connected
    AWAY = "away"  # connected, but the last evidence was negative: the clock stands still
    UNCONFIRMED = "unconfirmed"  # connected, no positive face check yet
    PRESENT = "present"  # evidence is positive: seconds are being credited


class Participant(Payload):
    person_id: str
    name: str
    role: Role
    state: PresenceState = PresenceState.ABSENT
    connected: bool = False
    publishing: bool = False
    hand_raised: bool = False
    last_outcome: str | None = None  # of the last face check: MATCH, MISMATCH, NO_FACE, ...
    last_check_at_ms: int | None = None
    credited_s: int = 0
    alarm: str | None = None  # reason code when a proctor should look: face_mismatch, no_face, ping_missed, ...
    publication_id: str | None = None


class Guest(Payload):
    """A learner who has the floor. `muted`: the microphone was taken, until the floor is granted anew."""

    person_id: str
    name: str
    voice: str  # the slot of everyone's subscription that carries the voice
    granted_at_ms: int
    muted: bool = False


class Stage(Payload):
    """Who speaks in class beside the instructor, and who is heard right now."""

    guests: list[Guest] = []
    speaking: list[str] = []  # person ids
    dominant: str | None = None  # of those who speak, the one to look at
    shown: str | None = None  # the guest in the `guest` slot
    version_ms: int = 0  # grows with every change: an older one that comes late is nothing


class ProfileFacts(Payload):
    """The numbers of the rule profile that people see; already scaled by `clock_factor`."""

    profile_id: str
    title: str
    title_en: str
    clock_factor: float  # 1 in real classes; a demo class runs this many times faster
    seconds_per_hour: float
    daily_cap_hours: int
    questions_per_hour: int
    pass_score: int
    ping_window_s: float
    max_gap_s: float


class LessonFacts(Payload):
    lesson_id: str
    title: str
    course: str
    class_name: str
    instructor: str
    state: LessonState
    started_at_ms: int | None
    ended_at_ms: int | None
    planned_s: float
    profile: ProfileFacts


class CreditInterval(Payload):
    """One stretch of the credit strip. `reason` is None where credited, else why not (coded)."""

    from_ms: int
    to_ms: int
    credited: bool
    reason: str | None = None


class CreditStrip(Payload):
    person_id: str
    credited_s: float
    attended_s: float
    needed_s: float
    state: PresenceState
    intervals: list[CreditInterval]
    asked_of_you: str | None = None  # coded: what the learner should do now to be credited (look_at_camera, ...)


class ChatMessage(Payload):
    message_id: str
    person_id: str
    name: str
    role: Role
    text: str
    at_ms: int


class OpenPing(Payload):
    ping_id: str
    opened_at_ms: int
    closes_at_ms: int


class QuizQuestion(Payload):
    """A question as learners may see it while the quiz runs: never with its answer."""

    question_id: str
    text: str
    options: list[str]
    multiple: bool = False


class OpenQuiz(Payload):
    quiz_id: str
    hour_index: int
    opened_at_ms: int
    closes_at_ms: int
    questions: list[QuizQuestion]
    answered: dict[str, list[int]] = {}  # the learner's own answers so far


class QuizItemResult(Payload):
    question_id: str
    text: str
    options: list[str]
    correct: list[int]
    chosen: list[int]
    right: bool
    explanation: str


class RecordingState(StrEnum):
    """How a lesson's recording stands, for staff."""

    NONE = "none"  # nothing is recorded and nothing needs to be
    STARTING = "starting"
    RECORDING = "recording"
    WAITING = "waiting"  # there is nothing to record: the lecture sends nothing
    FAILING = "failing"  # the recorder runs and cannot write
    INTERRUPTED = "interrupted"  # no recorder records this lesson
    READY = "ready"  # the recording is whole and can be replayed


class RecordingFacts(Payload):
    """`reason` is coded or a technical text, "" when all is well; `at_ms`: when the recorder was last heard."""

    state: RecordingState
    reason: str
    at_ms: int
    bytes: int


class MediaGrant(Payload):
    """Where and with which token to publish (WHIP) or play (WHEP); `slots` in the order of the offer's m-lines."""

    url: str
    token: str
    id: str  # publication or subscription id
    slots: list[SlotGrant] = []
    ice_servers: list[IceServerGrant] = []  # for who gets through on no other way; good for hours, for this person


class IceServerGrant(Payload):
    """As `RTCIceServer` wants it."""

    urls: list[str]
    username: str
    credential: str


class SlotGrant(Payload):
    name: str
    kind: Literal["audio", "video"]


MediaGrant.model_rebuild()


# --- calls: client → server ------------------------------------------------------------------------------------------


class Join(Payload):
    """Takes the person's one seat in the lesson; the seat's earlier window ends."""

    lesson_id: str
    window_id: Annotated[str, Field(min_length=8, max_length=64)]
    since: int | None = None
    as_role: Role | None = None  # a person with several roles says which; default: the strongest
    wall_slots: Annotated[int, Field(ge=1, le=49)] = 12  # of the staff's wall: how many small videos it negotiates


class Joined(Payload):
    you: Participant
    lesson: LessonFacts
    participants: list[Participant]
    seq: int  # of the newest event in this snapshot
    server_ms: int
    publish: list[
        MediaGrant
    ]  # learner: [camera, with the floor also voice]; instructor: [lecture (camera + microphone), screen]
    play: MediaGrant | None
    chat: list[ChatMessage]
    open_ping: OpenPing | None
    open_quiz: OpenQuiz | None
    credit: CreditStrip | None
    stage: Stage
    recording: RecordingFacts | None  # for staff
    missed: list[Envelope]  # everything after `since`, oldest first; empty when `since` is None


class Nothing(Payload):
    """A call or an answer without contents."""


class ChatSend(Payload):
    client_id: Annotated[str, Field(min_length=8, max_length=64)]  # makes a resend idempotent
    text: Annotated[str, Field(min_length=1, max_length=1000)]


class HandRaise(Payload):
    raised: bool


class PingAnswer(Payload):
    ping_id: str


class PingAnswered(Payload):
    ping_id: str
    accepted: bool
    at_ms: int


class QuizPush(Payload):
    """The instructor opens the quiz of the running credit hour; questions are drawn by the server."""

    hour_index: int | None = None


class QuizPushed(Payload):
    quiz_id: str


class QuizClose(Payload):
    quiz_id: str


class QuizAnswer(Payload):
    quiz_id: str
    question_id: str
    chosen: list[int]


class QuizAnswered(Payload):
    quiz_id: str
    question_id: str
    answered: int
    of: int


class CheckDemand(Payload):
    """A proctor asks for a face check of one learner now."""

    person_id: str


class CheckDemanded(Payload):
    check_id: str


class NoticeSend(Payload):
    person_id: str | None  # None: everyone
    text: Annotated[str, Field(min_length=1, max_length=300)]


class FloorPerson(Payload):
    """The learner whose floor is granted, taken, or whose microphone is taken."""

    person_id: str


class MediaGrants(Payload):
    publish: list[MediaGrant]
    play: MediaGrant | None


class SlotSeen(Payload):
    """What a browser counted of one slot since its last `media.seen` (RTCInboundRtpStreamStats)."""

    frames: Annotated[int, Field(ge=0, le=1_000_000)] = 0  # decoded
    dropped: Annotated[int, Field(ge=0, le=1_000_000)] = 0  # decoded too late to be shown
    freezes: Annotated[int, Field(ge=0, le=100_000)] = 0
    frozen_ms: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    concealed_ms: Annotated[int, Field(ge=0, le=10_000_000)] = 0  # of sound, made up for what was lost
    height_px: Annotated[int, Field(ge=0, le=20_000)] = 0
    jitter_buffer_ms: Annotated[int, Field(ge=0, le=1_000_000)] = 0  # mean wait of a frame before it was shown


class MediaSeen(Payload):
    """A hint for operators of how the class looks at this end, never evidence: whoever sends it may lie."""

    over_ms: Annotated[int, Field(ge=1, le=600_000)]
    slots: Annotated[dict[Annotated[str, Field(max_length=32)], SlotSeen], Field(max_length=64)]


class WallShow(Payload):
    """Proctor: what each slot of one's wall subscription shows; unnamed slots stay as they are."""

    subscription_id: str
    slots: dict[str, str | None]  # slot name → person_id or None


class WallShown(Payload):
    shown: dict[str, str | None]


# event name → (payload, result)
CALLS: dict[str, tuple[type[Payload], type[Payload]]] = {
    "join": (Join, Joined),
    "leave": (Nothing, Nothing),
    "chat.send": (ChatSend, ChatMessage),
    "hand.raise": (HandRaise, Nothing),
    "ping.answer": (PingAnswer, PingAnswered),
    "quiz.answer": (QuizAnswer, QuizAnswered),
    "media.renew": (Nothing, MediaGrants),
    "media.seen": (MediaSeen, Nothing),
    # instructor
    "class.start": (Nothing, LessonFacts),
    "class.end": (Nothing, LessonFacts),
    "quiz.push": (QuizPush, QuizPushed),
    "quiz.close": (QuizClose, Nothing),
    # proctor (and instructor)
    "check.demand": (CheckDemand, CheckDemanded),
    "notice.send": (NoticeSend, Nothing),
    "wall.show": (WallShow, WallShown),
    # the floor: granted and taken by the instructor, muted by proctors too, given back by the guest
    "floor.grant": (FloorPerson, Stage),
    "floor.take": (FloorPerson, Stage),
    "floor.mute": (FloorPerson, Stage),
    "floor.mute_all": (Nothing, Stage),
    "floor.leave": (Nothing, Stage),
}


# --- tells: server → client ------------------------------------------------------------------------------------------


class ClassStarted(Payload):
    lesson: LessonFacts


class ClassEnding(Payload):
    """The class closes: a last ping, face check and quiz run; it ends when all are in, at the latest then."""

    ends_by_ms: int


class ClassEnded(Payload):
    lesson: LessonFacts


class ParticipantChanged(Payload):
    """A participant joined, left, began to publish, changed state, raised a hand: the whole row, newest wins."""

    participant: Participant


class ChatPosted(Payload):
    message: ChatMessage


class PingOpened(Payload):
    ping: OpenPing


class PingClosed(Payload):
    ping_id: str
    answered: bool


class QuizOpened(Payload):
    quiz: OpenQuiz


class QuizProgress(Payload):
    """For the instructor: how the answers come in. `right` counts per question are shown while it runs."""

    quiz_id: str
    learners: int
    answered: dict[str, int]  # question_id → answers
    right: dict[str, int]


class QuizClosed(Payload):
    """To everyone; `items` and `score` only in the learner's own copy."""

    quiz_id: str
    hour_index: int
    score: float | None = None
    items: list[QuizItemResult] = []
    mean_score: float | None = None


class CheckAnnounced(Payload):
    """The frame has already been taken when the learner hears of it."""

    check_id: str
    person_id: str
    taken_at_ms: int


class CheckResult(Payload):
    check_id: str
    person_id: str
    outcome: str
    distance: float | None
    at_ms: int
    note: str | None = None  # coded advice for the learner: look_at_camera, more_light, alone_please, ...


class NoticePosted(Payload):
    from_name: str
    text: str


class SlotsChanged(Payload):
    subscription_id: str
    slots: dict[str, str | None]


class StageChanged(Payload):
    """The floor was granted, taken, given back, or microphones were taken; `by` whom and from whom."""

    stage: Stage
    act: Literal["granted", "taken", "left", "muted", "muted_all", "gone"]
    person_id: str | None  # None: everyone
    by: str


class StageSpeaking(Payload):
    """Someone began or stopped to speak."""

    person_id: str
    speaking: bool
    stage: Stage


class CreditChanged(Payload):
    credit: CreditStrip


class FaultRecorded(Payload):
    """A fault on the server's side: nobody is marked absent for it."""

    what: str
    from_ms: int
    to_ms: int


class RecordingChanged(RecordingFacts):
    """For staff: the recording began, waits, failed, goes on."""


# envelope type → payload
TELLS: dict[str, type[Payload]] = {
    "class.started": ClassStarted,
    "class.ending": ClassEnding,
    "class.ended": ClassEnded,
    "participant.changed": ParticipantChanged,
    "chat.posted": ChatPosted,
    "ping.opened": PingOpened,
    "ping.closed": PingClosed,
    "quiz.opened": QuizOpened,
    "quiz.progress": QuizProgress,
    "quiz.closed": QuizClosed,
    "check.announced": CheckAnnounced,
    "check.result": CheckResult,
    "notice.posted": NoticePosted,
    "slots.changed": SlotsChanged,
    "stage.changed": StageChanged,
    "stage.speaking": StageSpeaking,
    "credit.changed": CreditChanged,
    "fault.recorded": FaultRecorded,
    "recording.changed": RecordingChanged,
}


class Envelope(Payload):
    seq: int
    at_ms: int
    type: str
    to: str  # "all", "staff" (instructor, proctor, organiser) or "person:<id>"
    data: dict[str, Any]


Joined.model_rebuild()


class SeatEnded(Payload):
    reason: Literal["second_window", "second_sign_in", "signed_out", "removed"]


class MediaMoved(Payload):
    """Connections to the media node at `public_url` are to be built anew elsewhere, with renewed grants, each page at
    a moment of its own within `within_ms`; from a node that only drains the old one is closed when the new one is up.
    Without a number: whoever misses it notices by itself that the connection fails."""

    public_url: str
    reason: Literal["draining", "gone"]
    within_ms: int


class ErrorBody(Payload):
    code: ErrorCode
    message: str  # Chinese
    message_en: str
