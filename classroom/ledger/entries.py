"""Ledger entries: canonical bodies and the hash that binds each row to all before it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64  # prev_hash of the first entry of a chain


def person_chain(class_id: str, person_id: str) -> str:
    """The chain of one learner in one training class."""
    return f"{class_id}/{person_id}"


def lesson_chain(class_id: str, lesson_id: str) -> str:
    """The chain of facts about a lesson itself: start, faults, end."""
    return f"{class_id}/lesson:{lesson_id}"


def canonical(body: Mapping[str, Any]) -> str:
    """The one JSON text of a body: sorted keys, no spaces, ASCII. Numbers JSON does not know (NaN, ∞) become null."""
    return json.dumps(_finite(body), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def entry_hash(prev_hash: str, chain: str, idx: int, at_ms: int, kind: str, body: str) -> str:
    """SHA-256 (hex) over the previous hash and every column, as one JSON list so that no two rows share a text."""
    text = json.dumps([prev_hash, chain, idx, at_ms, kind, body], separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Draft:
    """An entry before it has its place."""

    chain: str
    at_ms: int
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """A row of the ledger."""

    chain: str
    idx: int
    at_ms: int
    kind: str
    body: str
    prev_hash: str
    hash: str

    def row(self) -> dict[str, Any]:
        return {
            "chain": self.chain,
            "idx": self.idx,
            "at_ms": self.at_ms,
            "kind": self.kind,
            "body": self.body,
            "prev_hash": self.prev_hash,
            "hash": self.hash,
        }


def chained(drafts: Sequence[Draft], heads: Mapping[str, Entry | None]) -> list[Entry]:
    """The drafts as entries, each linked to the one before it in its chain; `heads` are the chains' last entries."""
    ends = dict(heads)
    entries: list[Entry] = []
    for draft in drafts:
        head = ends.get(draft.chain)
        idx, prev_hash = (0, GENESIS) if head is None else (head.idx + 1, head.hash)
        body = canonical(draft.body)
        digest = entry_hash(prev_hash, draft.chain, idx, draft.at_ms, draft.kind, body)
        entry = Entry(draft.chain, idx, draft.at_ms, draft.kind, body, prev_hash, digest)
        ends[draft.chain] = entry
        entries.append(entry)
    return entries
