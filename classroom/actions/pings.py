"""Attendance pings."""

from __future__ import annotations

from classroom.store.record import Record
from classroom.views import MissedPing, PingAnswer


async def open_ping(
    record: Record,
    lesson_id: str,
    person_id: str,
    opened_at_ms: int,
    closes_at_ms: int,
    plan_index: int | None,
    fence: int | None = None,
) -> str:
    """Opens a ping and tells the learner; a plan_index already opened returns the ping it opened. Returns the ping id."""
    raise NotImplementedError


async def answer_ping(record: Record, ping_id: str, person_id: str, at_ms: int) -> PingAnswer:
    """An answer inside the window is evidence; later it is refused (accepted=False). Idempotent. Raises NotFound for another's ping."""
    raise NotImplementedError


async def close_pings(record: Record, lesson_id: str, now_ms: int, fence: int | None = None) -> list[MissedPing]:
    """Closes the pings whose window has passed without an answer; returns them."""
    raise NotImplementedError
