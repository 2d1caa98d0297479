"""Lessons a person has to do with. A lesson that is absent and one that is not theirs answer alike (R-012)."""

from __future__ import annotations

from pydantic import BaseModel
from quart import Blueprint
from quart_schema import validate_response

from classroom import LessonView, access_lesson, lessons_of
from web.auth import current_actor
from web.parts import current_parts

blueprint = Blueprint("lessons", __name__)


class LessonRow(BaseModel):
    lesson_id: str
    title: str
    course: str
    class_id: str
    class_name: str
    instructor: str
    state: str
    starts_at_ms: int
    started_at_ms: int | None
    ended_at_ms: int | None
    planned_s: float
    hours: float
    clock_factor: float
    seconds_per_hour: float
    max_gap_s: float
    roles_here: list[str]
    my_credit_s: float | None


def lesson_row(view: LessonView) -> LessonRow:
    seconds_per_hour = view.profile.seconds_per_hour
    return LessonRow(
        lesson_id=view.lesson_id,
        title=view.title,
        course=view.course,
        class_id=view.class_id,
        class_name=view.class_name,
        instructor=view.instructor,
        state=str(view.state),
        starts_at_ms=view.starts_at_ms,
        started_at_ms=view.started_at_ms,
        ended_at_ms=view.ended_at_ms,
        planned_s=view.planned_s,
        hours=round(view.planned_s / seconds_per_hour, 2),
        clock_factor=view.profile.clock_factor,
        seconds_per_hour=seconds_per_hour,
        max_gap_s=view.profile.max_gap_s,
        roles_here=sorted(str(role) for role in view.roles_here),
        my_credit_s=view.my_credit_s,
    )


@blueprint.get("/api/lessons")
@validate_response(list[LessonRow])
async def get_lessons() -> list[LessonRow]:
    """What one teaches, watches over, organises or attends."""
    return [lesson_row(view) for view in await lessons_of(current_parts().record, current_actor())]


@blueprint.get("/api/lessons/<lesson_id>")
@validate_response(LessonRow)
async def get_lesson(lesson_id: str) -> LessonRow:
    return lesson_row(await access_lesson(current_parts().record, current_actor(), lesson_id))
