"""The record: one open database with its clock and its signing key."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

from sqlalchemy import event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from classroom.domain.errors import BadInput, TryAgain
from classroom.store.unit_of_work import LostRace, UnitOfWork

Result = TypeVar("Result")

BUSY_TIMEOUT_MS = 10_000  # how long a writer waits for another process's transaction on SQLite
ATTEMPTS = 6  # of one transaction that lost a race (unique chain index, deadlock, serialisation)
_RETRIED_SQLSTATES = frozenset(
    {"40001", "40P01", "55P03"}
)  # serialization_failure, deadlock_detected, lock_not_available


def wall_clock_ms() -> int:
    """UTC epoch milliseconds."""
    return time.time_ns() // 1_000_000


class Record:
    """An open database. Made by `open_record`; closed by `await record.close()`.

    `clock_ms` is the one source of "now"; `signing_key` a raw Ed25519 private key (32 bytes) or None.
    """

    def __init__(
        self, engine: AsyncEngine, database_url: str, signing_key: bytes | None, clock_ms: Callable[[], int]
    ) -> None:
        self._engine = engine
        self.database_url = database_url
        self.signing_key = signing_key
        self.clock_ms = clock_ms
        self._one_writer = asyncio.Lock()  # SQLite has one writer: wait in order instead of polling for the lock

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    async def read(self, work: Callable[[UnitOfWork], Awaitable[Result]]) -> Result:
        """Runs `work` in a transaction of its own that must not write: all its queries see one moment.

        Raises BadInput for a value that no column can hold.
        """
        with _storable():
            return await self._read(work)

    async def _read(self, work: Callable[[UnitOfWork], Awaitable[Result]]) -> Result:
        async with self._engine.connect() as connection:
            if self.dialect == "postgresql":
                await connection.execution_options(isolation_level="REPEATABLE READ")
            return await work(UnitOfWork(connection, self.clock_ms(), self.signing_key))

    async def change(self, work: Callable[[UnitOfWork], Awaitable[Result]]) -> Result:
        """Runs `work` in one transaction and commits it; runs it again when it lost a race.

        Raises TryAgain after the last attempt, BadInput for a value that no column can hold; any other error rolls
        back and passes on.
        """
        with _storable():
            if self.dialect == "sqlite":
                async with self._one_writer:
                    return await self._change(work)
            return await self._change(work)

    async def _change(self, work: Callable[[UnitOfWork], Awaitable[Result]]) -> Result:
        last: Exception | None = None
        for attempt in range(ATTEMPTS):
            try:
                async with self._engine.connect() as plain:
                    connection = await plain.execution_options(anke_writes=True)
                    async with connection.begin():
                        unit = UnitOfWork(connection, self.clock_ms(), self.signing_key)
                        result = await work(unit)
                        await unit.finish()
                        return result
            except (DBAPIError, LostRace) as error:
                if isinstance(error, DBAPIError) and not _lost_a_race(error):
                    raise
                last = error
            await asyncio.sleep(random.uniform(0, 0.02 * (attempt + 1)))
        raise TryAgain() from last

    async def close(self) -> None:
        await self._engine.dispose()


@contextlib.contextmanager
def _storable() -> Iterator[None]:
    """A NUL in a text, half a surrogate pair or a number beyond 64 bits is the sender's mistake, not a failure."""
    try:
        yield
    except (OverflowError, UnicodeEncodeError) as error:
        raise BadInput() from error
    except DBAPIError as error:
        if str(getattr(error.orig, "sqlstate", None)).startswith("22"):  # PostgreSQL's class 22: data exception
            raise BadInput() from error
        raise


def _lost_a_race(error: DBAPIError) -> bool:
    if isinstance(error, IntegrityError):
        text = str(error.orig)
        return "ledger_entries" in text or "chain_heads" in text or "participants" in text or "plan_index" in text
    if isinstance(error.orig, sqlite3.OperationalError) or "sqlite3" in type(error.orig).__module__:
        return "locked" in str(error.orig) or "busy" in str(error.orig)
    return getattr(error.orig, "sqlstate", None) in _RETRIED_SQLSTATES


def normal_url(database_url: str) -> str:
    """The URL with the asynchronous driver named: `sqlite:///x` and `postgresql://...` are accepted too."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        url = url.set(drivername="sqlite+aiosqlite")
    elif url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+asyncpg")
    else:
        raise ValueError(f"not a database Anke keeps records in: {url.get_backend_name()}")
    return url.render_as_string(hide_password=False)


def open_engine(database_url: str) -> AsyncEngine:
    """An engine with the settings both databases need; no I/O yet."""
    url = normal_url(database_url)
    if make_url(url).get_backend_name() != "sqlite":
        return create_async_engine(url, pool_size=10, max_overflow=20, pool_pre_ping=True)
    database = make_url(url).database
    if database:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(url)

    @event.listens_for(engine.sync_engine, "connect")
    def settings(connection: sqlite3.Connection, _: object) -> None:
        # Transactions are begun by us, below: the driver's own implicit BEGIN is deferred and can deadlock two writers.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # evidence survives a power cut, not only a killed process
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("anke_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def open_record(
    database_url: str, *, signing_key: bytes | None = None, clock_ms: Callable[[], int] = wall_clock_ms
) -> Record:
    """Opens the database at `sqlite+aiosqlite:///path` or `postgresql+asyncpg://...` (no I/O yet).

    `signing_key` is a raw Ed25519 private key (32 bytes) for checkpoints. Raises ValueError for other URLs or keys.
    """
    if signing_key is not None and len(signing_key) != 32:
        raise ValueError("an Ed25519 private key has 32 bytes")
    return Record(open_engine(database_url), normal_url(database_url), signing_key, clock_ms)


def upgrade(database_url: str, revision: str = "head") -> None:
    """Brings the schema to the newest migration. Blocking; callable with or without a running event loop."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["database_url"] = normal_url(database_url)
    failure: list[BaseException] = []

    def run() -> None:
        try:
            command.upgrade(config, revision)
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread below
            failure.append(error)

    worker = threading.Thread(target=run, name="anke-db-upgrade")
    worker.start()
    worker.join()
    if failure:
        raise failure[0]
