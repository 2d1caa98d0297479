"""Face checks: opened, frame taken, judged."""

from __future__ import annotations

from typing import Any

from classroom.store.record import Record
from classroom.views import FaceCheck


async def open_face_check(
    record: Record,
    lesson_id: str,
    person_id: str,
    asked_by: str | None,
    plan_index: int | None,
    at_ms: int,
    fence: int | None = None,
) -> str:
    """Opens a check; a plan_index already opened returns its check. Raises ConsentRequired, FaceRequired, WrongState. Returns the check id."""
    raise NotImplementedError


async def frame_taken(
    record: Record, check_id: str, frame_sha256: str, ssrc: int, rtp_ts: int, taken_at_ms: int
) -> None:
    """The tap took the frame: only now the learner hears of the check. Idempotent."""
    raise NotImplementedError


async def record_face_check(record: Record, check_id: str, verdict: dict[str, Any]) -> bool:
    """Writes the verdict once: rule, ledger, outbox. Returns False when this check had a verdict before."""
    raise NotImplementedError


async def find_check(record: Record, check_id: str) -> FaceCheck:
    """A check as it stands. Raises NotFound."""
    raise NotImplementedError


async def checks_of(record: Record, lesson_id: str, person_id: str | None = None) -> list[FaceCheck]:
    """The checks of a lesson (of one person), oldest first: what a new conductor needs to go on."""
    raise NotImplementedError
