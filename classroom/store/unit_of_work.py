"""One transaction: rows, ledger entries and outbox together. Actions speak to the database through this."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from classroom.domain.errors import NotFound
from classroom.ledger.entries import Draft, Entry, chained
from classroom.store import tables


def new_id(letter: str) -> str:
    """An opaque id: one letter says what of, 64 random bits say which."""
    return f"{letter}_{secrets.token_hex(8)}"


class LostRace(Exception):
    """What this transaction had read was changed by another before it could lock it: `Record.change` runs it again."""


class UnitOfWork:
    """An open transaction. `now_ms` is the same for all that it writes."""

    def __init__(self, connection: AsyncConnection, now_ms: int, signing_key: bytes | None) -> None:
        self.connection = connection
        self.now_ms = now_ms
        self.signing_key = signing_key
        self._heads: dict[str, Entry | None] = {}  # of the chains locked so far
        self._told: list[dict[str, Any]] = []

    @property
    def dialect(self) -> str:
        return self.connection.dialect.name

    # --- rows --------------------------------------------------------------------------------------------------------

    async def find(self, table: Table, **where: Any) -> RowMapping | None:
        """The one row with these values, or None."""
        return (await self.connection.execute(select(table).where(*_matches(table, where)))).mappings().one_or_none()

    async def one(self, table: Table, **where: Any) -> RowMapping:
        """The one row with these values. Raises NotFound."""
        row = await self.find(table, **where)
        if row is None:
            raise NotFound()
        return row

    async def lock_row(self, table: Table, row_id: str, *, shared: bool) -> None:
        """Keeps the row with this id from changing until the commit. SQLite's one writer needs no row locks."""
        if self.dialect == "postgresql":
            query = select(table.c.id).where(table.c.id == row_id).with_for_update(read=shared)
            await self.connection.execute(query)

    async def many(self, table: Table, *order: str, **where: Any) -> Sequence[RowMapping]:
        """All rows with these values (a list or tuple means any of them), ordered by the columns named."""
        query = select(table).where(*_matches(table, where)).order_by(*(table.c[name] for name in order))
        return (await self.connection.execute(query)).mappings().all()

    async def fetch(self, query: Select[Any]) -> Sequence[RowMapping]:
        """The rows of a query from `classroom.store.queries`."""
        return (await self.connection.execute(query)).mappings().all()

    async def insert(self, table: Table, **values: Any) -> None:
        await self.connection.execute(insert(table).values(**values))

    async def insert_all(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            await self.connection.execute(insert(table), [dict(row) for row in rows])

    async def insert_new(self, table: Table, **values: Any) -> bool:
        """Inserts unless such a row (by any unique key) exists; says whether it did."""
        dialect = postgresql if self.dialect == "postgresql" else sqlite
        done = await self.connection.execute(dialect.insert(table).values(**values).on_conflict_do_nothing())
        return done.rowcount > 0

    async def update(self, table: Table, where: Mapping[str, Any], **values: Any) -> int:
        """Updates the rows matching `where`; returns how many."""
        done = await self.connection.execute(update(table).where(*_matches(table, where)).values(**values))
        return done.rowcount

    async def execute(self, statement: Any) -> int:
        """Runs a changing statement from `classroom.store.queries`; returns how many rows it touched."""
        return (await self.connection.execute(statement)).rowcount

    async def delete(self, table: Table, **where: Any) -> int:
        return (await self.connection.execute(delete(table).where(*_matches(table, where)))).rowcount

    # --- ledger ------------------------------------------------------------------------------------------------------

    async def lock_heads(self, chains: Iterable[str]) -> dict[str, Entry | None]:
        """Locks the ends of these chains until the commit (in sorted order, so that two batches cannot deadlock)."""
        wanted = set(chains)
        names = sorted(wanted - self._heads.keys())
        if names:
            query = select(tables.chain_heads).where(tables.chain_heads.c.chain.in_(names)).order_by("chain")
            if self.dialect == "postgresql":
                found = {row.chain for row in await self.connection.execute(query)}
                for name in names:
                    if name not in found:
                        await self.insert_new(tables.chain_heads, chain=name, idx=-1, hash="")
                query = query.with_for_update()
            self._heads |= dict.fromkeys(names)
            for row in await self.connection.execute(query):
                if row.idx >= 0:
                    self._heads[row.chain] = Entry(row.chain, row.idx, 0, "", "", "", row.hash)
        return {name: self._heads[name] for name in wanted}

    async def append(self, drafts: Sequence[Draft]) -> list[Entry]:
        """Appends entries to their chains, in the order given; `unique (chain, idx)` guards against a lost race."""
        if not drafts:
            return []
        heads = await self.lock_heads(draft.chain for draft in drafts)
        known = {chain for chain, head in heads.items() if head is not None}
        entries = chained(drafts, heads)
        await self.insert_all(tables.ledger_entries, [entry.row() for entry in entries])
        for entry in {entry.chain: entry for entry in entries}.values():
            if entry.chain in known or self.dialect == "postgresql":
                await self.update(tables.chain_heads, {"chain": entry.chain}, idx=entry.idx, hash=entry.hash)
            else:
                await self.insert(tables.chain_heads, chain=entry.chain, idx=entry.idx, hash=entry.hash)
            self._heads[entry.chain] = entry
        return entries

    # --- outbox ------------------------------------------------------------------------------------------------------

    def tell(self, lesson_id: str, to: str, kind: str, data: Mapping[str, Any], at_ms: int | None = None) -> None:
        """Puts one message of the live contract into the outbox. `to` is "all", "staff" or "person:<id>"."""
        row = {
            "lesson_id": lesson_id,
            "audience": to,
            "type": kind,
            "data": dict(data),
            "at_ms": self.now_ms if at_ms is None else at_ms,
        }
        self._told.append(row)

    async def finish(self) -> None:
        """Writes the outbox, in the order told; `Record.change` calls it before the commit."""
        await self.insert_all(tables.outbox, self._told)


def _matches(table: Table, where: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    clauses: list[ColumnElement[bool]] = []
    for name, value in where.items():
        column = table.c[name]
        if value is None:
            clauses.append(column.is_(None))
        elif isinstance(value, list | tuple | set | frozenset):
            clauses.append(column.in_(list(value)))
        else:
            clauses.append(column == value)
    return clauses
