"""Courses and their question banks."""

from __future__ import annotations

from collections.abc import Sequence

from classroom.store.record import Record
from classroom.views import CourseView, QuestionDraft


async def create_course(
    record: Record,
    title: str,
    hours: float,
    industry: str = "other",
    category: str = "other_staff",
    stage: str = "initial",
) -> str:
    """A new course of so many credit hours. Returns its id."""
    raise NotImplementedError


async def add_questions(record: Record, course_id: str, drafts: Sequence[QuestionDraft]) -> int:
    """Adds questions to the bank of the course; returns how many. Raises BadInput for a question nobody could answer."""
    raise NotImplementedError


async def courses(record: Record) -> list[CourseView]:
    """All courses."""
    raise NotImplementedError
