"""The outbox: what a committed change has to tell; published after commit, at least once."""

from __future__ import annotations

from classroom.store.record import Record
from classroom.views import OutboxRow


async def unsent_outbox(record: Record, limit: int = 200) -> list[OutboxRow]:
    """The oldest rows not yet marked sent."""
    raise NotImplementedError


async def mark_sent(record: Record, ids: list[int]) -> None:
    """These rows have been published."""
    raise NotImplementedError
