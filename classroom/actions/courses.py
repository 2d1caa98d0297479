"""Courses and their question banks."""

from __future__ import annotations

from collections.abc import Sequence

from classroom.domain.errors import BadInput
from classroom.store import queries, tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork, new_id
from classroom.views import CourseView, QuestionDraft

#: R-001: the industries of the Shanxi document and "other". R-002: the three posts and other staff.
INDUSTRIES = (
    "coal_mine",
    "hazardous_chemicals",
    "non_coal_mine",
    "metallurgy_and_trade",
    "coal_washing",
    "other",
)
CATEGORIES = ("principal", "safety_manager", "special_operations", "other_staff")
STAGES = ("initial", "refresher")


async def create_course(
    record: Record,
    title: str,
    hours: float,
    industry: str = "other",
    category: str = "other_staff",
    stage: str = "initial",
) -> str:
    """A new course of so many credit hours. Raises BadInput for codes that do not exist. Returns its id."""
    if industry not in INDUSTRIES or category not in CATEGORIES or stage not in STAGES or hours <= 0:
        raise BadInput()

    async def change(work: UnitOfWork) -> str:
        course_id = new_id("u")
        await work.insert(
            tables.courses,
            id=course_id,
            title=title,
            hours=float(hours),
            industry=industry,
            category=category,
            stage=stage,
            created_at_ms=work.now_ms,
        )
        return course_id

    return await record.change(change)


async def add_questions(record: Record, course_id: str, drafts: Sequence[QuestionDraft]) -> int:
    """Adds questions to the bank of the course; returns how many. Raises BadInput for one nobody could answer."""
    for draft in drafts:
        inside = all(0 <= index < len(draft.options) for index in draft.correct)
        if not draft.text.strip() or len(draft.options) < 2 or not draft.correct or not inside:
            raise BadInput(f"题目不完整：{draft.text[:30]}", f"The question is not complete: {draft.text[:30]}")

    async def change(work: UnitOfWork) -> int:
        await work.one(tables.courses, id=course_id)
        rows = [
            {
                "id": new_id("q"),
                "course_id": course_id,
                "text": draft.text,
                "options": list(draft.options),
                "correct": sorted(set(draft.correct)),
                "explanation": draft.explanation,
                "topic": draft.topic,
            }
            for draft in drafts
        ]
        await work.insert_all(tables.questions, rows)
        return len(rows)

    return await record.change(change)


async def courses(record: Record) -> list[CourseView]:
    """All courses."""

    async def look(work: UnitOfWork) -> list[CourseView]:
        return [
            CourseView(
                row["id"],
                row["title"],
                row["hours"],
                row["industry"],
                row["category"],
                row["stage"],
                row["questions"],
            )
            for row in await work.fetch(queries.course_rows())
        ]

    return await record.read(look)
