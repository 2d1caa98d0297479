"""A lesson's log → the sockets of this node: each joined window gets every event addressed to it once, in order.

Every node with windows in a lesson reads the lesson's log itself instead of trusting a fan-out through pub/sub:
pub/sub forgets what a subscriber misses while its connection is away, a stream does not. A window that joins at
event N is first brought from N to where the feed stands, under the same lock that moves the feed on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from signaling.protocol import ENVELOPE_EVENT, LESSON_NAMESPACE, Envelope
from signaling.upkeep import end_tasks

if TYPE_CHECKING:
    import socketio

    from signaling.event_log import EventLog

BLOCK_MS = 1000
BACKOFF_S = 0.3
IDLE_S = 20.0  # a feed without windows goes on this long, for those who come right back

log = structlog.get_logger(__name__)


def room_of(lesson_id: str, to: str) -> str:
    """The Socket.IO room for an envelope's `to`."""
    if to == "all":
        return f"L:{lesson_id}"
    if to == "staff":
        return f"L:{lesson_id}:staff"
    return f"P:{lesson_id}:{to.removeprefix('person:')}"


def addressed(envelope: Envelope, person_id: str, *, staff: bool) -> bool:
    """Whether this person hears the envelope; the rooms of `rooms_for` say the same."""
    return envelope.to == "all" or (envelope.to == "staff" and staff) or envelope.to == f"person:{person_id}"


def rooms_for(lesson_id: str, person_id: str, *, staff: bool) -> list[str]:
    rooms = [room_of(lesson_id, "all"), room_of(lesson_id, f"person:{person_id}")]
    return [*rooms, room_of(lesson_id, "staff")] if staff else rooms


class LessonFeed:
    """The reader of one lesson's log on this node."""

    def __init__(self, server: socketio.AsyncServer, event_log: EventLog, lesson_id: str) -> None:
        self.lesson_id = lesson_id
        self.windows: set[str] = set()  # sids
        self._server = server
        self._log = event_log
        self._seq: int | None = None
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def attach(self, sid: str, person_id: str, *, staff: bool, seq: int) -> None:
        """Sends this window what came after `seq` and keeps it supplied. Raises RedisError when Redis is away."""
        async with self._lock:
            if self._seq is None or self._task is None or self._task.done():
                self._seq = await self._log.head(self.lesson_id)
            else:
                # The feed may lag behind the snapshot this window has: without this it would hear events twice.
                await self._deliver(await self._log.since(self.lesson_id, self._seq), self._seq)
            for envelope in await self._log.since(self.lesson_id, seq, until=self._seq):
                if addressed(envelope, person_id, staff=staff):
                    await self._emit(envelope, sid)
            for room in rooms_for(self.lesson_id, person_id, staff=staff):
                await self._server.enter_room(sid, room, namespace=LESSON_NAMESPACE)
            self.windows.add(sid)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"feed {self.lesson_id}")

    def snapshot(self) -> dict[str, int]:
        return {"windows": len(self.windows), "seq": self._seq or 0}

    async def detach(self, sid: str, person_id: str) -> None:
        self.windows.discard(sid)
        for room in rooms_for(self.lesson_id, person_id, staff=True):
            await self._server.leave_room(sid, room, namespace=LESSON_NAMESPACE)

    async def _emit(self, envelope: Envelope, room: str) -> None:
        # ignore_queue: to this node's sockets only; the other nodes read the log themselves.
        await self._server.emit(
            ENVELOPE_EVENT, envelope.model_dump(mode="json"), to=room, namespace=LESSON_NAMESPACE, ignore_queue=True
        )

    async def _deliver(self, envelopes: list[Envelope], newest: int) -> None:
        """Sends what was not sent yet; the caller holds the lock."""
        for envelope in envelopes:
            if self._seq is None or envelope.seq > self._seq:
                await self._emit(envelope, room_of(self.lesson_id, envelope.to))
                self._seq = envelope.seq
        self._seq = max(self._seq or 0, newest)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        needed_at_s = loop.time()
        while True:
            if self.windows:
                needed_at_s = loop.time()
            elif loop.time() - needed_at_s > IDLE_S:
                return
            seq = self._seq or 0
            try:
                envelopes, newest = await self._log.wait(self.lesson_id, seq, block_ms=BLOCK_MS)
            except RedisTimeoutError:
                continue
            except (RedisError, OSError) as error:
                log.warning("event log away", lesson=self.lesson_id, reason=str(error))
                await asyncio.sleep(BACKOFF_S)
                continue
            async with self._lock:
                await self._deliver(envelopes, newest)

    async def stop(self) -> None:
        if self._task is not None:
            await end_tasks([self._task])


class Feeds:
    """The feeds of all lessons that have windows on this node."""

    def __init__(self, server: socketio.AsyncServer, event_log: EventLog) -> None:
        self._server = server
        self._log = event_log
        self._feeds: dict[str, LessonFeed] = {}

    def of(self, lesson_id: str) -> LessonFeed:
        feed = self._feeds.get(lesson_id)
        if feed is None:
            feed = self._feeds[lesson_id] = LessonFeed(self._server, self._log, lesson_id)
        return feed

    def snapshot(self) -> dict[str, dict[str, int]]:
        return {lesson_id: feed.snapshot() for lesson_id, feed in self._feeds.items() if feed.windows}

    async def stop(self) -> None:
        for feed in self._feeds.values():
            await feed.stop()
        self._feeds.clear()
