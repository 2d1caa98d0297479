"""Media flows and faults of the server, as the conductor saw them."""

from __future__ import annotations

from collections.abc import Sequence

from classroom.domain import evidence
from classroom.domain.evidence import MISSED, VOID
from classroom.domain.intervals import overlaps
from classroom.ledger import evidence_entries
from classroom.standing import LIVE, evidence_draft, hold_lesson, participant, tell_standing
from classroom.store import tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork


async def record_media_flow(
    record: Record, lesson_id: str, flows: Sequence[tuple[str, int, int]], fence: int | None = None
) -> None:
    """Media of learners flowed: (person_id, from_ms, to_ms) each, many at once. Empty intervals are left out.

    Raises NotFound, WrongState when the lesson is not live, StaleFence.
    """

    async def change(work: UnitOfWork) -> None:
        lesson = await hold_lesson(work, lesson_id, fence=fence, states=(LIVE,))
        real = [flow for flow in flows if flow[2] > flow[1]]
        known = {row["person_id"] for row in await work.many(tables.participants, lesson_id=lesson_id)}
        for person_id in sorted({flow[0] for flow in real} - known):
            await participant(work, lesson, person_id)
        drafts = [
            evidence_draft(work, lesson, person_id, evidence.media(from_ms, to_ms))
            for person_id, from_ms, to_ms in real
        ]
        await work.append(drafts)
        await tell_standing(work, lesson, [flow[0] for flow in real])

    if flows:
        await record.change(change)


async def record_fault(
    record: Record, lesson_id: str, what: str, from_ms: int, to_ms: int, fence: int | None = None
) -> None:
    """A fault on the server's side: pings whose window it overlaps are void, missing media is nobody's fault.

    It invents nothing either: time inside it is credited only between two positive evidences close enough.
    Raises NotFound, WrongState when the lesson is not live, StaleFence.
    """

    async def change(work: UnitOfWork) -> None:
        lesson = await hold_lesson(work, lesson_id, fence=fence, states=(LIVE,))
        fact = evidence.fault(from_ms, to_ms, what)
        await work.append([evidence_entries.draft(lesson.chain, lesson.id, fact, work.now_ms)])
        excused = (from_ms, to_ms + lesson.profile.ms("reconnect_grace_s"))
        for ping in await work.many(tables.pings, lesson_id=lesson_id, state=MISSED):
            if overlaps((ping["opened_at_ms"], ping["closes_at_ms"]), [excused]):
                await work.update(tables.pings, {"id": ping["id"]}, state=VOID)
        told = {"what": what, "from_ms": from_ms, "to_ms": to_ms}
        work.tell(lesson_id, "all", "fault.recorded", told)
        await tell_standing(work, lesson)

    await record.change(change)
