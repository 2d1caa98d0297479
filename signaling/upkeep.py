"""Background loops that outlive whatever they meet: each error is logged, waited out for a moment, tried again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

BACKOFF_S = 0.3

log = structlog.get_logger(__name__)


class Loops:
    """Named tasks, each restarted when it raises or returns, until `stop`."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, body: Callable[[], Awaitable[None]]) -> None:
        self._tasks[name] = asyncio.get_running_loop().create_task(_for_ever(name, body), name=name)

    async def stop(self) -> None:
        """Cancels every loop and waits for each to put its things away."""
        for task in self._tasks.values():
            task.cancel()
        for task in self._tasks.values():
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()


async def _for_ever(name: str, body: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await body()
        except Exception as error:  # noqa: BLE001  (whatever a library raises while Redis or the database is away)
            log.warning("loop interrupted", loop=name, reason=repr(error))
        await asyncio.sleep(BACKOFF_S)
