"""Recordings for those who read them: indexes kept up to date while they grow, objects by their unguessable names."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from media.recording.index import INDEX_NAME, Index, Rendition, Segment
from media.recording.playlist import stands
from media.recording.storage import Storage

LOOK_S = 0.1
KEPT_S = 600.0
KEPT_MOST = 200


@dataclass(slots=True)
class _Reading:
    index: Index = field(default_factory=Index)
    looked_s: float = 0.0
    used_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Shelf:
    """Reads what recorders write, by the index alone: also across processes, also while Redis is away.

    An index is looked at again at most every `LOOK_S`, whoever waits for it.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._readings: dict[str, _Reading] = {}

    async def index(self, recording: str) -> Index:
        """What is recorded so far. FileNotFoundError when nothing is; BrokenIndex when it was changed."""
        reading = self._readings.get(recording)
        if reading is None:
            self._forget()
            reading = _Reading()
        now_s = time.monotonic()
        reading.used_s = now_s
        async with reading.lock:
            if now_s - reading.looked_s >= LOOK_S:
                data = await asyncio.to_thread(self.storage.read, recording, INDEX_NAME, reading.index.length)
                reading.index.feed(data)
                reading.looked_s = time.monotonic()
        # Only what exists is kept: names that are asked for cost nothing.
        self._readings[recording] = reading
        return reading.index

    async def wait_for(
        self, recording: str, rendition: str, number: int, part: int | None, patience_s: float
    ) -> tuple[Index, Rendition | None]:
        """The index once the segment or part stands, or as it is when the patience is over."""
        until_s = time.monotonic() + patience_s
        while True:
            index = await self.index(recording)
            found = index.renditions.get(rendition)
            over = time.monotonic() >= until_s or index.closed_at_ms is not None
            if over or (found is not None and stands(found, number, part)):
                return index, found
            await asyncio.sleep(LOOK_S)

    async def part(self, recording: str, name: str, number: int, patience_s: float) -> bytes:
        """The bytes of one part, waited for if it is the next one. FileNotFoundError."""
        until_s = time.monotonic() + patience_s
        while True:
            segment = _named(await self.index(recording), name)
            if segment is None:
                raise FileNotFoundError(name)
            if number < len(segment.parts):
                part = segment.parts[number]
                return await asyncio.to_thread(self.storage.read, recording, name, part.offset, part.size)
            if segment.whole or number > len(segment.parts) or time.monotonic() >= until_s:
                raise FileNotFoundError(name)
            await asyncio.sleep(LOOK_S)

    async def whole(self, recording: str, name: str) -> bytes:
        """A whole segment or a run's beginning. FileNotFoundError, also for a segment that still grows."""
        index = await self.index(recording)
        segment = _named(index, name)
        is_init = any(run.init == name for rendition in index.renditions.values() for run in rendition.runs)
        if not is_init and (segment is None or not segment.whole):
            raise FileNotFoundError(name)
        return await asyncio.to_thread(self.storage.read, recording, name)

    def _forget(self) -> None:
        now_s = time.monotonic()
        stale = [name for name, reading in self._readings.items() if now_s - reading.used_s > KEPT_S]
        for name in stale or list(self._readings)[: max(0, len(self._readings) - KEPT_MOST)]:
            del self._readings[name]


def _named(index: Index, name: str) -> Segment | None:
    for rendition in index.renditions.values():
        for segment in reversed(rendition.segments):
            if segment.name == name:
                return segment
    return None
