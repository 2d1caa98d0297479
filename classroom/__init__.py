"""Classroom: people, rules, evidence, the hash-chained ledger, the database. Knows no packets, pixels or sockets."""

from classroom.access import access_lesson, class_detail, classes_of, lessons_of
from classroom.actions.accounts import create_organisation, create_person, find_actor, sign_in, sign_out
from classroom.actions.consents import give_consent, has_consent, withdraw_consent
from classroom.actions.conversation import post_chat, post_notice
from classroom.actions.courses import add_questions, courses, create_course
from classroom.actions.face_checks import checks_of, find_check, frame_taken, open_face_check, record_face_check
from classroom.actions.face_templates import forget_template, record_template, template_of
from classroom.actions.lessons import create_lesson, end_lesson, learners_of, start_lesson
from classroom.actions.media_flows import record_fault, record_media_flow
from classroom.actions.pings import answer_ping, close_pings, open_ping
from classroom.actions.presence import connected, disconnected, publishing, raise_hand
from classroom.actions.quizzes import answer_quiz, close_quiz, open_quiz, open_quiz_of, quiz_progress, quizzes_of
from classroom.actions.training_classes import create_class, enrol
from classroom.domain.credit import CreditReport, Stretch
from classroom.domain.errors import (
    BadInput,
    ClassroomError,
    ConsentRequired,
    Duplicate,
    FaceRequired,
    LockedOut,
    NotFound,
    SignInRefused,
    StaleFence,
    TooLate,
    TryAgain,
    WrongState,
)
from classroom.domain.lesson_plan import FACE, PING, LessonPlan, PlannedMoment
from classroom.domain.profile import RuleProfile
from classroom.exports.score_board import score_board_xlsx
from classroom.ledger.verify import verify_lesson
from classroom.live import (
    credit_of,
    evidence_of,
    lesson_snapshot,
    lesson_view,
    live_lessons,
    plan_of,
    score_board,
)
from classroom.seed.profiles import PROFILES
from classroom.seed.questions import seed_questions
from classroom.store.outbox import mark_sent, unsent_outbox
from classroom.store.record import Record, open_record, upgrade
from classroom.tells import credit_strip, lesson_facts
from classroom.views import (
    Actor,
    ClassDetail,
    ClassView,
    CourseView,
    FaceCheck,
    LearnerProgress,
    LearnerView,
    LessonSnapshot,
    LessonView,
    MissedPing,
    OutboxRow,
    PingAnswer,
    QuestionDraft,
    QuizAnswered,
    QuizProgress,
    QuizView,
    ScoreRow,
    SignedIn,
    VerifyReport,
)
