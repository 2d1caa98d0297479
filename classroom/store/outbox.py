"""The outbox: what a committed change has to tell; published after commit, at least once.

A row is deleted once it has been published; ids only grow and are never given out again, so that the event log can drop
a repeat by its id.
"""

from __future__ import annotations

from classroom.store import queries
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork
from classroom.views import OutboxRow


async def unsent_outbox(record: Record, limit: int = 200) -> list[OutboxRow]:
    """The oldest rows not yet marked sent."""

    async def look(work: UnitOfWork) -> list[OutboxRow]:
        return [
            OutboxRow(row["id"], row["lesson_id"], row["audience"], row["type"], row["data"], row["at_ms"])
            for row in await work.fetch(queries.oldest_outbox(limit))
        ]

    return await record.read(look)


async def mark_sent(record: Record, ids: list[int]) -> None:
    """These rows have been published: they are done with."""

    async def change(work: UnitOfWork) -> None:
        await work.execute(queries.sent(ids))

    if ids:
        await record.change(change)
