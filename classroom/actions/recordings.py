"""The recording as a matter of record: its interruptions, its seal, what of a live lecture was delivered by HLS.

None of these entries is evidence of anyone's attendance. An interruption is the server's own matter: learners lose and
gain nothing by it, so it is not a fault in the sense of `record_fault`, which would void their pings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from classroom.actions.afterwards import append_to_lesson
from classroom.ledger.entries import Draft
from classroom.standing import LIVE, hold_lesson
from classroom.store import tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork

RECORDING_INTERRUPTED = "RECORDING_INTERRUPTED"
RECORDING_CLOSED = "RECORDING_CLOSED"
LECTURE_DELIVERED = "LECTURE_DELIVERED"


async def note_recording_interrupted(
    record: Record, lesson_id: str, from_ms: int, to_ms: int, reason: str, fence: int | None = None
) -> None:
    """So long nothing was recorded (or is not: `to_ms` is when that was noticed). Raises NotFound, StaleFence."""

    async def change(work: UnitOfWork) -> None:
        lesson = await hold_lesson(work, lesson_id, fence=fence)
        body = {"lesson": lesson.id, "from_ms": from_ms, "to_ms": to_ms, "reason": reason}
        await append_to_lesson(work, lesson, [Draft(lesson.chain, work.now_ms, RECORDING_INTERRUPTED, body)])

    await record.change(change)


async def close_recording(
    record: Record, lesson_id: str, seal: str, size_bytes: int, segments: int, ends_ms: int
) -> None:
    """The recording is whole. `seal` (SHA-256 over its index, which names every segment's) binds it to the ledger.

    Told once for each seal. Raises NotFound.
    """

    async def change(work: UnitOfWork) -> None:
        lesson = await hold_lesson(work, lesson_id)
        rows = await work.many(tables.ledger_entries, "idx", chain=lesson.chain, kind=RECORDING_CLOSED)
        if any(f'"seal":"{seal}"' in row["body"] for row in rows):
            return
        body = {"lesson": lesson.id, "seal": seal, "bytes": size_bytes, "segments": segments, "ends_ms": ends_ms}
        await append_to_lesson(work, lesson, [Draft(lesson.chain, work.now_ms, RECORDING_CLOSED, body)])

    await record.change(change)


async def record_delivery(record: Record, lesson_id: str, person_id: str, spans: Sequence[tuple[int, int]]) -> None:
    """A learner without a WebRTC path was handed these stretches (wall clock, ms) of the live lecture over HLS.

    It says that the lecture reached them, never that they were there. Raises NotFound; nothing after the lesson's end.
    """

    async def change(work: UnitOfWork) -> None:
        lesson = await hold_lesson(work, lesson_id)
        if lesson.state != LIVE:
            return
        if not await work.find(tables.enrolments, class_id=lesson.class_id, person_id=person_id):
            return
        drafts = [_delivered(work, lesson.chain_of(person_id), lesson.id, person_id, span) for span in spans]
        await work.append(drafts)

    if spans:
        await record.change(change)


def _delivered(work: UnitOfWork, chain: str, lesson_id: str, person_id: str, span: tuple[int, int]) -> Draft:
    body: dict[str, Any] = {"lesson": lesson_id, "person": person_id, "path": "hls"}
    body |= {"from_ms": span[0], "to_ms": span[1]}
    return Draft(chain, work.now_ms, LECTURE_DELIVERED, body)
