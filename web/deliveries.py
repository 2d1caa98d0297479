"""What of a live lecture was handed to whom over HLS, gathered and written into the record now and then.

A part counts once its viewer has come back for a later one: then the playlist that named it had reached them. It says
that the lecture was delivered, never that anyone watched; credit does not read it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from classroom import ClassroomError, Record, record_delivery
from media.recording.index import Segment

EXTENSION = "anke.deliveries"
WRITE_S = 30.0
# A viewer who was away for longer comes back to a stretch of its own.
JOIN_MS = 1500

log = structlog.get_logger(__name__)


class Deliveries:
    def __init__(self, record: Record, write_s: float = WRITE_S) -> None:
        self._record = record
        self._write_s = write_s
        self._spans: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self._reached: dict[tuple[str, str], int] = {}
        self._task: asyncio.Task[None] | None = None

    def came_back(
        self, lesson_id: str, person_id: str, segments: Sequence[Segment], number: int, part: int | None
    ) -> None:
        """The viewer asks for (`number`, `part`): the part before it has reached them."""
        before = [
            each
            for segment in segments
            if segment.number <= number
            for place, each in enumerate(segment.parts)
            if segment.number < number or (part is not None and place < part)
        ]
        if not before:
            return
        key, last = (lesson_id, person_id), before[-1]
        from_ms, to_ms = last.at_ms, int(last.at_ms + last.duration_ms)
        # Never twice: two players of one person reach the same moments once.
        from_ms = max(from_ms, self._reached.get(key, 0))
        if to_ms <= from_ms:
            return
        self._reached[key] = to_ms
        spans = self._spans.setdefault(key, [])
        if spans and from_ms - spans[-1][1] <= JOIN_MS:
            spans[-1] = (spans[-1][0], to_ms)
        else:
            spans.append((from_ms, to_ms))

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="deliveries")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.write()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._write_s)
            await self.write()

    async def write(self) -> None:
        """Into the record; what cannot be written now is tried again."""
        for key in list(self._spans):
            spans = self._spans.pop(key)
            try:
                await record_delivery(self._record, *key, spans)
            except ClassroomError as error:
                log.warning("delivery not recorded", lesson=key[0], person=key[1], code=error.code)
            except Exception as error:  # noqa: BLE001  (whatever the driver raises while the record is away)
                log.warning("delivery waits for the record", lesson=key[0], reason=repr(error))
                self._spans[key] = [*spans, *self._spans.get(key, [])]
