"""Chat and notices."""

from __future__ import annotations

from typing import Any

from classroom.domain.errors import BadInput
from classroom.standing import hold_lesson, participant
from classroom.store import tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork, new_id
from classroom.tells import chat_message

LONGEST_CHAT = 1000  # characters, as in the live contract
LONGEST_NOTICE = 300


def _readable(text: str, longest: int) -> bool:
    return bool(text.strip()) and len(text) <= longest and "\x00" not in text


async def post_chat(
    record: Record, lesson_id: str, person_id: str, role: str, text: str, client_id: str, at_ms: int
) -> dict[str, Any]:
    """Posts a chat message; the same client_id again returns the first. Returns a ChatMessage.

    Raises BadInput for an empty or overlong text, NotFound for strangers.
    """
    if not _readable(text, LONGEST_CHAT):
        raise BadInput()

    async def change(work: UnitOfWork) -> dict[str, Any]:
        lesson = await hold_lesson(work, lesson_id)
        await participant(work, lesson, person_id)
        person = await work.one(tables.people, id=person_id)
        row = {
            "id": new_id("h"),
            "lesson_id": lesson_id,
            "person_id": person_id,
            "client_id": client_id,
            "role": role,
            "name": person["name"],
            "text": text,
            "at_ms": at_ms,
        }
        if not await work.insert_new(tables.chat_messages, **row):
            first = await work.one(tables.chat_messages, lesson_id=lesson_id, person_id=person_id, client_id=client_id)
            return chat_message(first)
        work.tell(lesson_id, "all", "chat.posted", {"message": chat_message(row)}, at_ms)
        return chat_message(row)

    return await record.change(change)


async def post_notice(
    record: Record, lesson_id: str, from_person: str, to_person: str | None, text: str, at_ms: int | None = None
) -> None:
    """A notice to one person or to everyone. Raises BadInput, NotFound."""
    if not _readable(text, LONGEST_NOTICE):
        raise BadInput()

    async def change(work: UnitOfWork) -> None:
        lesson = await hold_lesson(work, lesson_id)
        sender = await work.one(tables.people, id=from_person)
        to = "all"
        if to_person is not None:
            await participant(work, lesson, to_person)
            to = f"person:{to_person}"
        work.tell(lesson_id, to, "notice.posted", {"from_name": sender["name"], "text": text}, at_ms)

    await record.change(change)
