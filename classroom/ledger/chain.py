"""Checking one chain against its own hashes. Pure: raw rows in, the first broken place out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from classroom.ledger.entries import GENESIS, Entry, entry_hash


@dataclass(frozen=True)
class RawRow:
    """A ledger row as the bytes that are stored: nothing is decoded before it has been checked."""

    chain: bytes
    idx: bytes
    at_ms: bytes
    kind: bytes
    body: bytes
    prev_hash: bytes
    hash: bytes


@dataclass(frozen=True)
class Break:
    """The first place where a chain is not what was written, with what is wrong there."""

    chain: str
    idx: int
    what: str


def checked(chain: str, rows: Iterable[RawRow]) -> tuple[list[Entry], Break | None]:
    """The entries up to the first broken row, and that row. `rows` are ordered by idx."""
    entries: list[Entry] = []
    prev_hash = GENESIS
    for place, row in enumerate(rows):
        entry = _decoded(row)
        if entry is None:
            return entries, Break(chain, place, "the row holds bytes that were never written")
        if entry.idx != place:
            what = "a row is missing" if entry.idx > place else "a row was added"
            return entries, Break(chain, place, what)
        if entry.prev_hash != prev_hash:
            return entries, Break(chain, place, "it does not follow the row before it")
        digest = entry_hash(entry.prev_hash, chain, entry.idx, entry.at_ms, entry.kind, entry.body)
        if entry.hash != digest or entry.chain != chain:
            return entries, Break(chain, place, "its hash does not fit its contents")
        prev_hash = entry.hash
        entries.append(entry)
    return entries, None


def _decoded(row: RawRow) -> Entry | None:
    try:
        idx, at_ms = int(row.idx), int(row.at_ms)
        # An integer has one writing; "+5", " 5" or "5.0" in the file is a change.
        if str(idx).encode() != row.idx or str(at_ms).encode() != row.at_ms:
            return None
        return Entry(
            row.chain.decode("ascii"),
            idx,
            at_ms,
            row.kind.decode("ascii"),
            row.body.decode("ascii"),
            row.prev_hash.decode("ascii"),
            row.hash.decode("ascii"),
        )
    except ValueError:
        return None
