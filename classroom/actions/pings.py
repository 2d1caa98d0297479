"""Attendance pings."""

from __future__ import annotations

from sqlalchemy.engine import RowMapping

from classroom.domain import evidence
from classroom.domain.errors import NotFound
from classroom.domain.evidence import ANSWERED, MISSED, VOID
from classroom.domain.intervals import overlaps
from classroom.standing import (
    LIVE,
    Lesson,
    evidence_draft,
    faults_of,
    hold_lesson,
    participant,
    record_evidence,
    tell_standing,
)
from classroom.store import tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork, new_id
from classroom.tells import open_ping as open_ping_payload
from classroom.views import MissedPing, PingAnswer

OPEN = "open"


async def open_ping(
    record: Record,
    lesson_id: str,
    person_id: str,
    opened_at_ms: int,
    closes_at_ms: int,
    plan_index: int | None,
    fence: int | None = None,
) -> str:
    """Opens a ping and tells the learner. Returns the ping id.

    A plan_index already opened returns the ping it opened. Raises NotFound, WrongState, StaleFence.
    """

    async def change(work: UnitOfWork) -> str:
        lesson = await hold_lesson(work, lesson_id, fence=fence, states=(LIVE,))
        await participant(work, lesson, person_id)
        if plan_index is not None:
            before = await work.find(tables.pings, lesson_id=lesson_id, person_id=person_id, plan_index=plan_index)
            if before is not None:
                return str(before["id"])
        row = {
            "id": new_id("g"),
            "lesson_id": lesson_id,
            "person_id": person_id,
            "plan_index": plan_index,
            "opened_at_ms": opened_at_ms,
            "closes_at_ms": closes_at_ms,
            "state": OPEN,
        }
        await work.insert(tables.pings, **row)
        work.tell(lesson_id, f"person:{person_id}", "ping.opened", {"ping": open_ping_payload(row)}, opened_at_ms)
        return str(row["id"])

    return await record.change(change)


async def answer_ping(
    record: Record, ping_id: str, person_id: str, at_ms: int, lesson_id: str | None = None
) -> PingAnswer:
    """An answer inside the window is evidence; later it is refused (accepted=False). A repeat repeats the verdict.

    `lesson_id` is where the answerer sits. Raises NotFound for another's ping or one of another lesson (R-060).
    """

    async def change(work: UnitOfWork) -> PingAnswer:
        ping = await work.one(tables.pings, id=ping_id)
        if ping["person_id"] != person_id or lesson_id not in (None, ping["lesson_id"]):
            raise NotFound()
        lesson = await hold_lesson(work, ping["lesson_id"])
        await work.lock_heads([lesson.chain_of(person_id)])  # one answer at a time, and none while it is being closed
        ping = await work.one(tables.pings, id=ping_id)
        if ping["state"] == ANSWERED:
            return PingAnswer(ping_id, True, ping["answered_at_ms"])
        if ping["state"] != OPEN or lesson.state != LIVE or not ping["opened_at_ms"] <= at_ms <= ping["closes_at_ms"]:
            return PingAnswer(ping_id, False, at_ms)
        await work.update(tables.pings, {"id": ping_id}, state=ANSWERED, answered_at_ms=at_ms)
        fact = evidence.ping(ping["opened_at_ms"], at_ms, ANSWERED, ping_id)
        await record_evidence(work, lesson, person_id, fact, plan_index=ping["plan_index"])
        work.tell(lesson.id, f"person:{person_id}", "ping.closed", {"ping_id": ping_id, "answered": True}, at_ms)
        await tell_standing(work, lesson, [person_id], at_ms)
        return PingAnswer(ping_id, True, at_ms)

    return await record.change(change)


async def close_pings(record: Record, lesson_id: str, now_ms: int, fence: int | None = None) -> list[MissedPing]:
    """Closes the pings whose window has passed without an answer; returns them. Raises NotFound, StaleFence."""

    async def due(work: UnitOfWork) -> bool:
        if fence is not None:
            written = (await work.one(tables.lessons, id=lesson_id))["fence"]
            if written != fence:
                return True
        pings = await work.many(tables.pings, lesson_id=lesson_id, state=OPEN)
        return any(ping["closes_at_ms"] < now_ms for ping in pings)

    async def change(work: UnitOfWork) -> list[MissedPing]:
        lesson = await hold_lesson(work, lesson_id, fence=fence)
        closed = await close_due(work, lesson, now_ms)
        await tell_standing(work, lesson, [ping.person_id for ping in closed], now_ms)
        return closed

    # Asked every second by the conductor and mostly idle: look before taking the writer's lock.
    return await record.change(change) if await record.read(due) else []


async def close_due(work: UnitOfWork, lesson: Lesson, now_ms: int) -> list[MissedPing]:
    """Writes off the open pings whose window ended before `now_ms`."""
    pings = await work.many(tables.pings, "opened_at_ms", lesson_id=lesson.id, state=OPEN)
    due = [ping for ping in pings if ping["closes_at_ms"] < now_ms]
    if not due:
        return []
    await work.lock_heads(lesson.chain_of(ping["person_id"]) for ping in due)
    # An answer may have been committed while we waited for the locks.
    still = await work.many(tables.pings, "opened_at_ms", id=[ping["id"] for ping in due], state=OPEN)
    grace_ms = lesson.profile.ms("reconnect_grace_s")
    excused = [(fault.from_ms, fault.to_ms + grace_ms) for fault in await faults_of(work, lesson)]
    closed: list[MissedPing] = []
    drafts = []
    for ping in still:
        void = overlaps((ping["opened_at_ms"], ping["closes_at_ms"]), excused)
        await _write_off(work, lesson, ping, VOID if void else MISSED)
        fact = evidence.ping(ping["opened_at_ms"], ping["closes_at_ms"], VOID if void else MISSED, ping["id"])
        drafts.append(evidence_draft(work, lesson, ping["person_id"], fact, plan_index=ping["plan_index"]))
        closed.append(MissedPing(ping["id"], ping["person_id"], void))
    await work.append(drafts)
    return closed


async def void_open(work: UnitOfWork, lesson: Lesson) -> None:
    """The lesson ends while windows are open: nobody missed those pings."""
    for ping in await work.many(tables.pings, lesson_id=lesson.id, state=OPEN):
        await _write_off(work, lesson, ping, VOID)


async def _write_off(work: UnitOfWork, lesson: Lesson, ping: RowMapping, state: str) -> None:
    await work.update(tables.pings, {"id": ping["id"]}, state=state)
    told = {"ping_id": ping["id"], "answered": False}
    work.tell(lesson.id, f"person:{ping['person_id']}", "ping.closed", told)
