"""Payloads of the live contract, built as plain dicts: what the outbox carries and snapshots hold."""

from __future__ import annotations

from typing import Any

from classroom.domain.credit import CreditReport
from classroom.domain.profile import RuleProfile
from classroom.views import LessonView


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
