"""Who is in the lesson: connections, hands, publications."""

from __future__ import annotations

from typing import Any

from classroom.store.record import Record


async def connected(
    record: Record, lesson_id: str, person_id: str, seat_id: str, at_ms: int, role: str | None = None
) -> dict[str, Any]:
    """The person sits in the lesson on this seat. Returns their full Participant row."""
    raise NotImplementedError


async def disconnected(record: Record, lesson_id: str, person_id: str, seat_id: str, at_ms: int) -> None:
    """The connection of this seat is gone; of an earlier seat than the present one: nothing changes."""
    raise NotImplementedError


async def publishing(record: Record, lesson_id: str, person_id: str, publication_id: str | None, at_ms: int) -> None:
    """The person's publication began (id) or ended (None): the roster shows it."""
    raise NotImplementedError


async def raise_hand(record: Record, lesson_id: str, person_id: str, raised: bool, at_ms: int) -> None:
    """Raises or lowers a hand."""
    raise NotImplementedError
