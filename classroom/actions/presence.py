"""Who is in the lesson: connections, hands, publications."""

from __future__ import annotations

from typing import Any

from classroom.domain import evidence
from classroom.domain.evidence import Evidence, Kind
from classroom.domain.roles import Role
from classroom.standing import ENDED, Lesson, hold_lesson, participant, record_evidence, tell_standing
from classroom.store import tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork


async def connected(
    record: Record, lesson_id: str, person_id: str, seat_id: str, at_ms: int, role: str | None = None
) -> dict[str, Any]:
    """The person sits in the lesson on this seat. Returns their full Participant row.

    `role` is what they take part as (default: instructor, learner, proctor, organiser: the first that they are).
    After the lesson has ended it is shown but no longer evidence. Raises NotFound.
    """

    async def change(work: UnitOfWork) -> dict[str, Any]:
        lesson = await hold_lesson(work, lesson_id)
        row = await participant(work, lesson, person_id, role, seat_id)
        if row["role"] == Role.LEARNER and lesson.state != ENDED:
            if row["seat_id"] not in ("", seat_id) and row["connected"]:
                taken = Evidence(at_ms, Kind.SEAT, seat_id)
                await record_evidence(work, lesson, person_id, taken, left=row["seat_id"])
            if not row["connected"] or row["seat_id"] != seat_id:
                await record_evidence(work, lesson, person_id, evidence.connected(at_ms, seat_id))
        await _set(work, lesson, person_id, seat_id=seat_id, connected=True)
        await tell_standing(work, lesson, [person_id], at_ms)
        row = await work.one(tables.participants, lesson_id=lesson_id, person_id=person_id)
        return dict(row["told"]["row"])

    return await record.change(change)


async def disconnected(record: Record, lesson_id: str, person_id: str, seat_id: str, at_ms: int) -> None:
    """The connection of this seat is gone; of an earlier seat than the present one: nothing changes."""

    async def change(work: UnitOfWork) -> None:
        lesson = await hold_lesson(work, lesson_id)
        row = await work.find(tables.participants, lesson_id=lesson_id, person_id=person_id)
        if row is None or not row["connected"] or row["seat_id"] != seat_id:
            return
        if row["role"] == Role.LEARNER and lesson.state != ENDED:
            await record_evidence(work, lesson, person_id, evidence.disconnected(at_ms, seat_id))
        await _set(work, lesson, person_id, connected=False, hand_raised=False)
        await tell_standing(work, lesson, [person_id], at_ms)

    await record.change(change)


async def publishing(record: Record, lesson_id: str, person_id: str, publication_id: str | None, at_ms: int) -> None:
    """The person's publication began (its id) or ended (None): the roster shows it. No evidence by itself."""

    async def change(work: UnitOfWork) -> None:
        lesson = await hold_lesson(work, lesson_id)
        await participant(work, lesson, person_id)
        await _set(work, lesson, person_id, publication_id=publication_id)
        await tell_standing(work, lesson, [person_id], at_ms)

    await record.change(change)


async def raise_hand(record: Record, lesson_id: str, person_id: str, raised: bool, at_ms: int) -> None:
    """Raises or lowers a hand."""

    async def change(work: UnitOfWork) -> None:
        lesson = await hold_lesson(work, lesson_id)
        await participant(work, lesson, person_id)
        await _set(work, lesson, person_id, hand_raised=raised)
        await tell_standing(work, lesson, [person_id], at_ms)

    await record.change(change)


async def _set(work: UnitOfWork, lesson: Lesson, person_id: str, **values: Any) -> None:
    await work.update(tables.participants, {"lesson_id": lesson.id, "person_id": person_id}, **values)
