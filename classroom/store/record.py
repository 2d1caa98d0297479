"""The record: one open database with its clock and its signing key."""

from __future__ import annotations

import time
from collections.abc import Callable


def wall_clock_ms() -> int:
    """UTC epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Record:
    """An open database. Made by `open_record`; closed by `await record.close()`."""

    database_url: str
    signing_key: bytes | None
    clock_ms: Callable[[], int]

    async def close(self) -> None:
        raise NotImplementedError


def open_record(
    database_url: str, *, signing_key: bytes | None = None, clock_ms: Callable[[], int] = wall_clock_ms
) -> Record:
    """Opens the database at `sqlite+aiosqlite:///path` or `postgresql+asyncpg://...` (no I/O yet).

    `signing_key` is a raw Ed25519 private key (32 bytes) for checkpoints.
    """
    raise NotImplementedError


def upgrade(database_url: str) -> None:
    """Brings the schema to the newest migration. Blocking; callable with or without a running event loop."""
    raise NotImplementedError
