"""Reading, with authorisation: forbidden and absent give the same answer."""

from __future__ import annotations

from classroom.store.record import Record
from classroom.views import Actor, ClassDetail, ClassView, LessonView


async def access_lesson(record: Record, actor: Actor, lesson_id: str) -> LessonView:
    """The lesson as this actor may see it. Raises NotFound when absent or forbidden."""
    raise NotImplementedError


async def lessons_of(record: Record, actor: Actor) -> list[LessonView]:
    """Every lesson the actor has a role in, by start."""
    raise NotImplementedError


async def classes_of(record: Record, actor: Actor) -> list[ClassView]:
    """Training classes the actor organises, teaches, oversees or attends."""
    raise NotImplementedError


async def class_detail(record: Record, actor: Actor, class_id: str) -> ClassDetail:
    """One class with learners and lessons, for staff. Raises NotFound."""
    raise NotImplementedError
