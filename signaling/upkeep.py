"""Background loops that outlive whatever they meet: each error is logged, waited out for a moment, tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import structlog

BACKOFF_S = 0.3
CANCEL_AGAIN_S = 1.0

log = structlog.get_logger(__name__)


async def wait_for_event(event: asyncio.Event, timeout_s: float) -> bool:
    """Waits until the event is set or the time is over, and clears it; whether it was set.

    `asyncio.timeout`, not `wait_for`: before Python 3.12 the latter can lose a cancellation that comes together with
    the event, and a loop that lost its cancellation never ends.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks and waits until each has put its things away.

    Cancels again while one goes on: a library on the way may have swallowed the first cancellation.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)


class Loops:
    """Named tasks, each restarted when it raises or returns, until `stop`."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, body: Callable[[], Awaitable[None]]) -> None:
        self._tasks[name] = asyncio.get_running_loop().create_task(_for_ever(name, body), name=name)

    async def stop(self) -> None:
        """Ends every loop."""
        await end_tasks(self._tasks.values())
        self._tasks.clear()


async def _for_ever(name: str, body: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await body()
        except Exception as error:  # noqa: BLE001  (whatever a library raises while Redis or the database is away)
            log.warning("loop interrupted", loop=name, reason=repr(error))
        await asyncio.sleep(BACKOFF_S)
