"""Lessons: made, started, ended."""

from __future__ import annotations

from classroom.store.record import Record
from classroom.views import LearnerView, LessonView


async def create_lesson(
    record: Record,
    class_id: str,
    title: str,
    instructor_id: str,
    starts_at_ms: int,
    planned_hours: float,
    clock_factor: float = 1.0,
) -> str:
    """A scheduled lesson; freezes the class profile scaled by the clock factor and draws the secret. Returns its id."""
    raise NotImplementedError


async def start_lesson(record: Record, lesson_id: str, actor_id: str, fence: int | None = None) -> LessonView:
    """Goes live now; a lesson already live stays as it is. Raises WrongState when it has ended."""
    raise NotImplementedError


async def end_lesson(record: Record, lesson_id: str, actor_id: str | None, fence: int | None = None) -> LessonView:
    """Ends a live lesson: open pings and quizzes close, credit is settled, a signed checkpoint is written. Idempotent."""
    raise NotImplementedError


async def learners_of(record: Record, lesson_id: str) -> list[LearnerView]:
    """Everyone enrolled, whether in the lesson or not."""
    raise NotImplementedError
