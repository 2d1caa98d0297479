"""What happened in a lesson and when, for the marks beside its recording: each viewer sees what they saw in class."""

from __future__ import annotations

from dataclasses import dataclass

from classroom.standing import read_lesson
from classroom.store import tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork

CLASS_STARTED, CLASS_ENDED = "class_started", "class_ended"
NOTICE = "notice"
CHAT, QUIZ_OPENED, QUIZ_CLOSED, PING = "chat", "quiz_opened", "quiz_closed", "ping"


@dataclass(frozen=True)
class Mark:
    """One moment. `who` and `text` are people's own words where there are any; `detail` is coded."""

    at_ms: int
    kind: str
    who: str = ""
    text: str = ""
    detail: str = ""


async def timeline_of(record: Record, lesson_id: str, viewer_id: str, *, staff: bool) -> list[Mark]:
    """Marks in order of time: chat and quizzes for everyone, pings of all for staff and of oneself. Raises NotFound."""

    async def look(work: UnitOfWork) -> list[Mark]:
        lesson = await read_lesson(work, lesson_id)
        found: list[Mark] = []
        if lesson.row["started_at_ms"] is not None:
            found.append(Mark(lesson.row["started_at_ms"], CLASS_STARTED))
        if lesson.row["ended_at_ms"] is not None:
            found.append(Mark(lesson.row["ended_at_ms"], CLASS_ENDED))
        for row in await work.many(tables.chat_messages, "at_ms", lesson_id=lesson_id):
            found.append(Mark(row["at_ms"], CHAT, row["name"], row["text"]))
        for row in await work.many(tables.quizzes, "opened_at_ms", lesson_id=lesson_id):
            found.append(Mark(row["opened_at_ms"], QUIZ_OPENED, detail=str(row["hour_index"] + 1)))
            if row["closed_at_ms"] is not None:
                found.append(Mark(row["closed_at_ms"], QUIZ_CLOSED, detail=str(row["hour_index"] + 1)))
        pings = await work.many(tables.pings, "opened_at_ms", lesson_id=lesson_id)
        people = {row["id"]: row["name"] for row in await work.many(tables.people, id=[p["person_id"] for p in pings])}
        for row in pings:
            if staff or row["person_id"] == viewer_id:
                found.append(Mark(row["opened_at_ms"], PING, people[row["person_id"]], detail=row["state"]))
        return sorted(found, key=lambda mark: mark.at_ms)

    return await record.read(look)
