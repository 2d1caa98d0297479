"""Lessons as they are given out."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.engine import RowMapping

from classroom.domain.profile import profile_of
from classroom.store import tables
from classroom.store.unit_of_work import UnitOfWork
from classroom.views import LessonView


async def lesson_view(
    work: UnitOfWork, row: RowMapping, roles_here: Iterable[str] = (), viewer_id: str | None = None
) -> LessonView:
    """The view of a row of `queries.lesson_rows`; `viewer_id` adds that learner's own credit."""
    profile = profile_of(row["profile"])
    enrolled = await work.many(tables.enrolments, "person_id", class_id=row["class_id"])
    learner_ids = tuple(e["person_id"] for e in enrolled)
    my_credit_s = None
    if viewer_id is not None and viewer_id in learner_ids:
        my_credit_s = await _credit_s(work, row["id"], viewer_id)
    return LessonView(
        lesson_id=row["id"],
        title=row["title"],
        course=row["course"],
        course_id=row["course_id"],
        class_id=row["class_id"],
        class_name=row["class_name"],
        organisation_id=row["organisation_id"],
        instructor_id=row["instructor_id"],
        instructor=row["instructor"],
        state=row["state"],
        starts_at_ms=row["starts_at_ms"],
        started_at_ms=row["started_at_ms"],
        ended_at_ms=row["ended_at_ms"],
        planned_hours=row["planned_hours"],
        planned_s=row["planned_hours"] * profile.seconds_per_hour,
        profile=profile,
        roles_here=frozenset(str(role) for role in roles_here),
        learner_ids=learner_ids,
        my_credit_s=my_credit_s,
    )


async def _credit_s(work: UnitOfWork, lesson_id: str, person_id: str) -> float:
    settled = await work.find(tables.credit_results, lesson_id=lesson_id, person_id=person_id)
    if settled is not None:
        return float(settled["credited_ms"] / 1000)
    here = await work.find(tables.participants, lesson_id=lesson_id, person_id=person_id)
    return float(here["told"]["row"]["credited_s"]) if here is not None and here["told"] else 0.0
