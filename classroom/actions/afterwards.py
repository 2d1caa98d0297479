"""Entries about a lesson that may come after its end: the audit wants each of them under a signed checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from classroom.actions.settlement import write_checkpoint
from classroom.ledger.entries import Draft
from classroom.standing import ENDED, Lesson, hold_lesson
from classroom.store.unit_of_work import UnitOfWork


async def append_to_lesson(work: UnitOfWork, lesson: Lesson, drafts: Sequence[Draft]) -> None:
    """Appends to chains of the lesson's class; when the lesson has ended a checkpoint signs what it now holds."""
    if not drafts:
        return
    held = await hold_lesson(work, lesson.id, alone=True)
    await work.append(drafts)
    if held.state == ENDED:
        await write_checkpoint(work, lesson.id, lesson.class_id)
