"""Media flows and faults of the server, as the conductor saw them."""

from __future__ import annotations

from collections.abc import Sequence

from classroom.store.record import Record


async def record_media_flow(
    record: Record, lesson_id: str, flows: Sequence[tuple[str, int, int]], fence: int | None = None
) -> None:
    """Media of learners flowed: (person_id, from_ms, to_ms) each, many at once."""
    raise NotImplementedError


async def record_fault(
    record: Record, lesson_id: str, what: str, from_ms: int, to_ms: int, fence: int | None = None
) -> None:
    """A fault on the server's side: pings whose window it overlaps are void, missing media is nobody's fault."""
    raise NotImplementedError
