"""Chat and notices."""

from __future__ import annotations

from typing import Any

from classroom.store.record import Record


async def post_chat(
    record: Record, lesson_id: str, person_id: str, role: str, text: str, client_id: str, at_ms: int
) -> dict[str, Any]:
    """Posts a chat message; the same client_id again returns the first. Returns a ChatMessage."""
    raise NotImplementedError


async def post_notice(
    record: Record, lesson_id: str, from_person: str, to_person: str | None, text: str, at_ms: int | None = None
) -> None:
    """A notice to one person or to everyone."""
    raise NotImplementedError
