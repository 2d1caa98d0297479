"""Payloads of the live contract, built as plain dicts: what the outbox carries and snapshots hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from classroom.domain.credit import CreditReport
from classroom.domain.profile import RuleProfile
from classroom.domain.quizzes import is_right
from classroom.views import LessonView, QuizView

#: A database row or a dict with the same names.
Row = Mapping[Any, Any]


def profile_facts(profile: RuleProfile) -> dict[str, Any]:
    return {
        "profile_id": profile.profile_id,
        "title": profile.title,
        "title_en": profile.title_en,
        "clock_factor": profile.clock_factor,
        "seconds_per_hour": profile.seconds_per_hour,
        "daily_cap_hours": profile.daily_cap_hours,
        "questions_per_hour": profile.questions_per_hour,
        "pass_score": profile.pass_score,
        "ping_window_s": profile.ping_window_s,
        "max_gap_s": profile.max_gap_s,
    }


def lesson_facts(view: LessonView) -> dict[str, Any]:
    return {
        "lesson_id": view.lesson_id,
        "title": view.title,
        "course": view.course,
        "class_name": view.class_name,
        "instructor": view.instructor,
        "state": view.state,
        "started_at_ms": view.started_at_ms,
        "ended_at_ms": view.ended_at_ms,
        "planned_s": view.planned_s,
        "profile": profile_facts(view.profile),
    }


def credit_strip(person_id: str, report: CreditReport, needed_s: float) -> dict[str, Any]:
    """The learner's strip (`CreditStrip`)."""
    return {
        "person_id": person_id,
        "credited_s": report.credited_ms / 1000,
        "attended_s": report.attended_ms / 1000,
        "needed_s": needed_s,
        "state": report.state,
        "intervals": [
            {"from_ms": part.from_ms, "to_ms": part.to_ms, "credited": part.credited, "reason": part.reason}
            for part in report.intervals
        ],
        "asked_of_you": report.asked_of_you,
    }


def participant_row(row: Row, report: CreditReport | None) -> dict[str, Any]:
    """The whole row of a person (`Participant`), for staff. `row` is of `queries.participant_rows`."""
    state = "present" if row["connected"] else "absent"
    if report is not None:
        # A report looks at evidence; the roster must not show someone as here whose connection is gone.
        state = report.state if row["connected"] else "absent"
    return {
        "person_id": row["person_id"],
        "name": row["name"],
        "role": row["role"],
        "state": state,
        "connected": bool(row["connected"]),
        "publishing": row["publication_id"] is not None,
        "hand_raised": bool(row["hand_raised"]),
        "last_outcome": row["last_outcome"],
        "last_check_at_ms": row["last_check_at_ms"],
        "credited_s": 0 if report is None else report.credited_ms // 1000,
        "alarm": None if report is None else report.alarm,
        "publication_id": row["publication_id"],
    }


def seen_by_all(full: Mapping[str, Any]) -> dict[str, Any]:
    """What learners see of each other: name, role, connection, hand. No verdict, alarm, credit or state of theirs.

    Of the instructor they also see whether the lecture is on air.
    """
    on_air = full["role"] == "instructor" and full["publishing"]
    return {
        "person_id": full["person_id"],
        "name": full["name"],
        "role": full["role"],
        "state": "present" if full["connected"] else "absent",
        "connected": full["connected"],
        "publishing": on_air,
        "hand_raised": full["hand_raised"],
        "last_outcome": None,
        "last_check_at_ms": None,
        "credited_s": 0,
        "alarm": None,
        "publication_id": full["publication_id"] if on_air else None,
    }


def chat_message(row: Row) -> dict[str, Any]:
    return {
        "message_id": row["id"],
        "person_id": row["person_id"],
        "name": row["name"],
        "role": row["role"],
        "text": row["text"],
        "at_ms": row["at_ms"],
    }


def open_ping(row: Row) -> dict[str, Any]:
    return {"ping_id": row["id"], "opened_at_ms": row["opened_at_ms"], "closes_at_ms": row["closes_at_ms"]}


def quiz_question(row: Row) -> dict[str, Any]:
    """A question without its answer (R-016)."""
    return {
        "question_id": row["id"],
        "text": row["text"],
        "options": list(row["options"]),
        "multiple": len(row["correct"]) > 1,
    }


def quiz_item(row: Row, chosen: Sequence[int]) -> dict[str, Any]:
    """A question after its quiz has closed: the own answer, the right one, why (R-017)."""
    return {
        "question_id": row["id"],
        "text": row["text"],
        "options": list(row["options"]),
        "correct": list(row["correct"]),
        "chosen": list(chosen),
        "right": is_right(row["correct"], chosen),
        "explanation": row["explanation"],
    }


def open_quiz(view: QuizView, answered: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    return {
        "quiz_id": view.quiz_id,
        "hour_index": view.hour_index,
        "opened_at_ms": view.opened_at_ms,
        "closes_at_ms": view.closes_at_ms,
        "questions": view.questions,
        "answered": {question_id: list(chosen) for question_id, chosen in answered.items()},
    }
