"""Every table, once. Times are UTC epoch milliseconds; JSON columns hold plain values; ids are opaque strings."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[str]:
    return Column("id", String(40), primary_key=True)


def _ref(name: str, target: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, String(40), ForeignKey(f"{target}.id"), nullable=nullable)


def _ms(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


organisations = Table(
    "organisations", metadata, _id(), Column("name", Text, nullable=False), Column("kind", String(20), nullable=False)
)

people = Table(
    "people",
    metadata,
    _id(),
    Column("login", String(120), nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("roles", JSON, nullable=False),
    _ref("organisation_id", "organisations"),
    # Only a keyed digest and a masked form of the identity number are kept.
    Column("identity_digest", String(64), unique=True),
    Column("identity_masked", String(20)),
    Column("failed_sign_ins", Integer, nullable=False, default=0),
    _ms("locked_until_ms", nullable=True),
    _ms("created_at_ms"),
)

sessions = Table(
    "sessions",
    metadata,
    _id(),
    Column("token_hash", String(64), nullable=False, unique=True),
    _ref("person_id", "people"),
    Column("user_agent", Text, nullable=False),
    Column("ip", String(64), nullable=False),
    _ms("created_at_ms"),
    _ms("ended_at_ms", nullable=True),
    Column("ended_why", String(20)),
    Index("ix_sessions_person_id", "person_id"),
)

courses = Table(
    "courses",
    metadata,
    _id(),
    Column("title", Text, nullable=False),
    Column("hours", Float, nullable=False),
    Column("industry", String(40), nullable=False),
    Column("category", String(40), nullable=False),
    Column("stage", String(20), nullable=False),
    _ms("created_at_ms"),
)

questions = Table(
    "questions",
    metadata,
    _id(),
    _ref("course_id", "courses"),
    Column("text", Text, nullable=False),
    Column("options", JSON, nullable=False),
    Column("correct", JSON, nullable=False),
    Column("explanation", Text, nullable=False),
    Column("topic", String(40), nullable=False),
    Index("ix_questions_course_id", "course_id"),
)

classes = Table(
    "classes",
    metadata,
    _id(),
    _ref("course_id", "courses"),
    _ref("organisation_id", "organisations"),
    Column("title", Text, nullable=False),
    Column("profile_id", String(60), nullable=False),
    Column("profile", JSON, nullable=False),
    Column("term", String(60), nullable=False),
    _ms("created_at_ms"),
)

enrolments = Table(
    "enrolments",
    metadata,
    Column("class_id", String(40), ForeignKey("classes.id"), primary_key=True),
    Column("person_id", String(40), ForeignKey("people.id"), primary_key=True),
    _ms("created_at_ms"),
    Index("ix_enrolments_person_id", "person_id"),
)

lessons = Table(
    "lessons",
    metadata,
    _id(),
    _ref("class_id", "classes"),
    Column("title", Text, nullable=False),
    _ref("instructor_id", "people"),
    _ms("starts_at_ms"),
    Column("planned_hours", Float, nullable=False),
    Column("state", String(12), nullable=False),
    _ms("started_at_ms", nullable=True),
    _ms("ended_at_ms", nullable=True),
    Column("profile", JSON, nullable=False),  # frozen and scaled
    Column("secret", LargeBinary, nullable=False),
    Column("fence", BigInteger, nullable=False, default=0),
    Index("ix_lessons_class_id", "class_id"),
    Index("ix_lessons_state", "state"),
)

consents = Table(
    "consents",
    metadata,
    _id(),
    _ref("person_id", "people"),
    Column("purpose", String(40), nullable=False),
    Column("text_version", String(40), nullable=False),
    _ms("given_at_ms"),
    _ms("withdrawn_at_ms", nullable=True),
    Index("ix_consents_person_id_purpose", "person_id", "purpose"),
)

face_templates = Table(
    "face_templates",
    metadata,
    Column("person_id", String(40), ForeignKey("people.id"), primary_key=True),
    Column("template_key", String(120), nullable=False),
    Column("model", String(60), nullable=False),
    Column("shots", Integer, nullable=False),
    _ms("created_at_ms"),
)

#: Who has been in a lesson, and the row of them that was last told: a picture of the ledger, never its source.
participants = Table(
    "participants",
    metadata,
    Column("lesson_id", String(40), ForeignKey("lessons.id"), primary_key=True),
    Column("person_id", String(40), ForeignKey("people.id"), primary_key=True),
    Column("role", String(20), nullable=False),
    Column("chain", String(120), nullable=False),
    Column("first_idx", BigInteger, nullable=False),  # the lesson's entries in the chain begin here or later
    Column("seat_id", String(60), nullable=False),
    Column("connected", Boolean, nullable=False),
    Column("hand_raised", Boolean, nullable=False),
    Column("publication_id", String(160)),
    Column("last_outcome", String(30)),
    _ms("last_check_at_ms", nullable=True),
    Column("told", JSON, nullable=False),
)

pings = Table(
    "pings",
    metadata,
    _id(),
    _ref("lesson_id", "lessons"),
    _ref("person_id", "people"),
    Column("plan_index", Integer),
    _ms("opened_at_ms"),
    _ms("closes_at_ms"),
    Column("state", String(12), nullable=False),  # open | answered | missed | void
    _ms("answered_at_ms", nullable=True),
    UniqueConstraint("lesson_id", "person_id", "plan_index"),
    Index("ix_pings_lesson_id_state", "lesson_id", "state"),
)

face_checks = Table(
    "face_checks",
    metadata,
    _id(),
    _ref("lesson_id", "lessons"),
    _ref("person_id", "people"),
    Column("plan_index", Integer),
    Column("asked_by", String(40)),
    _ms("asked_at_ms"),
    Column("frame_sha256", String(64)),
    Column("ssrc", BigInteger),
    Column("rtp_ts", BigInteger),
    _ms("taken_at_ms", nullable=True),
    Column("outcome", String(30)),
    _ms("judged_at_ms", nullable=True),
    UniqueConstraint("lesson_id", "person_id", "plan_index"),
    Index("ix_face_checks_lesson_id", "lesson_id"),
)

quizzes = Table(
    "quizzes",
    metadata,
    _id(),
    _ref("lesson_id", "lessons"),
    Column("hour_index", Integer, nullable=False),
    _ms("opened_at_ms"),
    _ms("closes_at_ms"),
    _ms("closed_at_ms", nullable=True),
    Column("question_ids", JSON, nullable=False),
    Column("opened_by", String(40)),
    _ms("progress_told_ms"),
    UniqueConstraint("lesson_id", "hour_index"),
)

quiz_answers = Table(
    "quiz_answers",
    metadata,
    Column("quiz_id", String(40), ForeignKey("quizzes.id"), primary_key=True),
    Column("person_id", String(40), ForeignKey("people.id"), primary_key=True),
    Column("question_id", String(40), ForeignKey("questions.id"), primary_key=True),
    Column("chosen", JSON, nullable=False),
    _ms("at_ms"),
)

quiz_scores = Table(
    "quiz_scores",
    metadata,
    Column("quiz_id", String(40), ForeignKey("quizzes.id"), primary_key=True),
    Column("person_id", String(40), ForeignKey("people.id"), primary_key=True),
    Column("score", Float, nullable=False),
)

chat_messages = Table(
    "chat_messages",
    metadata,
    _id(),
    _ref("lesson_id", "lessons"),
    _ref("person_id", "people"),
    Column("client_id", String(64), nullable=False),
    Column("role", String(20), nullable=False),
    Column("name", Text, nullable=False),
    Column("text", Text, nullable=False),
    _ms("at_ms"),
    UniqueConstraint("lesson_id", "person_id", "client_id"),
    Index("ix_chat_messages_lesson_id_at_ms", "lesson_id", "at_ms"),
)

#: Append-only. `hash` covers the other columns and, through `prev_hash`, every earlier row of the chain.
ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("chain", String(120), primary_key=True),
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    _ms("at_ms"),
    Column("kind", String(30), nullable=False),
    Column("body", Text, nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

#: The end of each chain; its row is what appenders lock.
chain_heads = Table(
    "chain_heads",
    metadata,
    Column("chain", String(120), primary_key=True),
    Column("idx", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _id(),
    _ref("lesson_id", "lessons"),
    Column("seq", Integer, nullable=False),
    _ms("at_ms"),
    Column("heads", JSON, nullable=False),  # [[chain, idx, hash], ...]
    Column("root", String(64), nullable=False),
    Column("public_key", String(64)),
    Column("signature", String(128)),
    UniqueConstraint("lesson_id", "seq"),
)

#: What a lesson's end came to. `anke verify` recomputes it from the ledger and compares.
credit_results = Table(
    "credit_results",
    metadata,
    Column("lesson_id", String(40), ForeignKey("lessons.id"), primary_key=True),
    Column("person_id", String(40), ForeignKey("people.id"), primary_key=True),
    Column("credited_ms", BigInteger, nullable=False),
    Column("attended_ms", BigInteger, nullable=False),
    Column("hours", Float, nullable=False),
    Column("state", String(20), nullable=False),
    Column("own", JSON, nullable=False),  # [[from_ms, to_ms, reason or null], ...] of this lesson by itself
    Column("intervals", JSON, nullable=False),  # the same after the limits over all lessons of the person
    _ms("settled_at_ms"),
    Index("ix_credit_results_person_id", "person_id"),
)

#: How far a person is in a recording, and which player of theirs is handed segments (`replay_id`, "" for none).
replays = Table(
    "replays",
    metadata,
    Column("lesson_id", String(40), ForeignKey("lessons.id"), primary_key=True),
    Column("person_id", String(40), ForeignKey("people.id"), primary_key=True),
    Column("replay_id", String(40), nullable=False),
    Column("issued", Integer, nullable=False),
    Column("issued_ms", Float, nullable=False),
    Column("confirmed", Integer, nullable=False),
    Column("confirmed_ms", Float, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("challenge_id", String(40), nullable=False),
    _ms("challenge_opened_at_ms"),
    _ms("challenge_closes_at_ms"),
    Index("ix_replays_replay_id", "replay_id"),
    Index("ix_replays_person_id", "person_id"),
)

#: How much recorded media a person may be handed, over all lessons and players: it grows with the wall clock only.
replay_allowances = Table(
    "replay_allowances",
    metadata,
    Column("person_id", String(40), ForeignKey("people.id"), primary_key=True),
    Column("ms", Float, nullable=False),
    _ms("at_ms"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("lesson_id", String(40), nullable=False),
    Column("audience", String(60), nullable=False),
    Column("type", String(40), nullable=False),
    Column("data", JSON, nullable=False),
    _ms("at_ms"),
    sqlite_autoincrement=True,
)
