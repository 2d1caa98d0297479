"""What classroom gives out: frozen values without a database behind them. Times are UTC epoch milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from classroom.domain.profile import RuleProfile


@dataclass(frozen=True)
class Actor:
    """Who is acting, from a session that is still the newest of its person."""

    person_id: str
    name: str
    roles: frozenset[str]
    organisation_id: str
    session_id: str


@dataclass(frozen=True)
class SignedIn:
    token: str  # shown once; only its hash is stored
    session_id: str
    actor: Actor
    ended_sessions: list[str]  # earlier sessions of this person, ended by this sign-in


@dataclass(frozen=True)
class LessonView:
    lesson_id: str
    title: str
    course: str
    course_id: str
    class_id: str
    class_name: str
    organisation_id: str
    instructor_id: str
    instructor: str
    state: str  # scheduled | live | ended
    starts_at_ms: int
    started_at_ms: int | None
    ended_at_ms: int | None
    planned_hours: float
    planned_s: float
    profile: RuleProfile  # already scaled by the lesson's clock factor
    roles_here: frozenset[str]
    learner_ids: tuple[str, ...]
    my_credit_s: float | None  # of the asking learner; None for others

    def facts(self) -> dict[str, Any]:
        """The lesson in the shape of the live contract's `LessonFacts`."""
        from classroom.tells import lesson_facts

        return lesson_facts(self)


@dataclass(frozen=True)
class LearnerView:
    person_id: str
    name: str
    template_key: str | None
    consented: bool  # to face recognition


@dataclass(frozen=True)
class ClassView:
    class_id: str
    title: str
    course_id: str
    course: str
    hours: float
    organisation_id: str
    organisation: str
    profile_id: str
    term: str
    learners: int
    lessons: int


@dataclass(frozen=True)
class LearnerProgress:
    person_id: str
    login: str
    name: str
    credited_s: float
    hours: float
    needed_hours: float
    face_enrolled: bool


@dataclass(frozen=True)
class ClassDetail:
    view: ClassView
    learners: list[LearnerProgress]
    lessons: list[LessonView]


@dataclass(frozen=True)
class InstructorView:
    """Somebody who may be named as a lesson's instructor."""

    person_id: str
    name: str


@dataclass(frozen=True)
class CourseView:
    course_id: str
    title: str
    hours: float
    industry: str
    category: str
    stage: str
    questions: int


@dataclass(frozen=True)
class QuestionDraft:
    """A question to be added: `correct` holds indexes into `options`; more than one makes it a multiple choice."""

    text: str
    options: Sequence[str]
    correct: Sequence[int]
    explanation: str
    topic: str = ""


@dataclass(frozen=True)
class PingAnswer:
    ping_id: str
    accepted: bool  # inside its window; a repeated answer repeats the first verdict
    at_ms: int


@dataclass(frozen=True)
class MissedPing:
    ping_id: str
    person_id: str
    void: bool  # a fault of the server overlapped its window: nobody is marked for it


@dataclass(frozen=True)
class QuizView:
    quiz_id: str
    lesson_id: str
    hour_index: int
    opened_at_ms: int
    closes_at_ms: int
    closed_at_ms: int | None
    questions: list[dict[str, Any]]  # QuizQuestion of the contract: never the answers
    opened_by: str | None


@dataclass(frozen=True)
class QuizAnswered:
    quiz_id: str
    question_id: str
    answered: int
    of: int


@dataclass(frozen=True)
class QuizProgress:
    quiz_id: str
    learners: int
    answered: dict[str, int]  # question id → answers
    right: dict[str, int]


@dataclass(frozen=True)
class FaceCheck:
    check_id: str
    lesson_id: str
    person_id: str
    plan_index: int | None
    asked_at_ms: int
    taken_at_ms: int | None
    outcome: str | None
    judged_at_ms: int | None


@dataclass(frozen=True)
class LessonSnapshot:
    """A lesson as one viewer may see it now; members are dicts in the shapes of the live contract."""

    lesson: dict[str, Any]  # LessonFacts
    participants: list[dict[str, Any]]  # Participant; reduced for learners (but their own row)
    chat: list[dict[str, Any]]  # ChatMessage, oldest first
    open_ping: dict[str, Any] | None  # OpenPing of the viewer
    open_quiz: dict[str, Any] | None  # OpenQuiz with the viewer's own answers
    credit: dict[str, Any] | None  # CreditStrip of the viewer when a learner


@dataclass(frozen=True)
class ScoreRow:
    person_id: str
    name: str
    state: str
    credited_s: float
    attended_s: float
    needed_s: float
    hours: float
    pings: dict[str, int]  # sent, answered, missed
    verdicts: dict[str, int]  # outcome → count
    quiz_score: float | None  # mean over the lesson's closed quizzes, missing = 0
    reasons: list[str]  # why seconds were not credited, by weight


@dataclass(frozen=True)
class OutboxRow:
    id: int
    lesson_id: str
    to: str  # "all", "staff" or "person:<id>"
    type: str
    data: dict[str, Any]
    at_ms: int


@dataclass(frozen=True)
class VerifyReport:
    """What an audit of a lesson found. `broken_row` is (chain, idx) of the first row that is not what was written."""

    result: str  # identical | different | broken
    broken_row: tuple[str, int] | None
    differences: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
