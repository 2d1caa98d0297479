"""Who is connected, as all nodes know it together; and who vanished with a node that died.

Each node says for its own windows, every second and a half, that they are there. The database learns of comings and
goings when they happen; a node that is killed cannot say goodbye for its windows, so the lesson's conductor does that
for windows nobody has spoken for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

import classroom
from signaling.protocol import Role

if TYPE_CHECKING:
    from signaling.context import Context
    from signaling.seats import Seat

SPEAK_S = 1.5
# Longer than a web process takes to come back and its learners to join again (15 s is promised).
VANISHED_MS = 15_000
_TTL_S = 24 * 3600

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Sitting:
    """A person's present or last connection to a lesson."""

    person_id: str
    seat_id: str
    sid: str  # the socket that speaks for the seat
    role: str
    connected: bool
    at_ms: int  # when last spoken for, or when it ended


class Presence:
    def __init__(self, context: Context) -> None:
        self._context = context
        # (seat, sid, role) of this node's windows; set by the server
        self.own_seats: Callable[[], list[tuple[Seat, str, Role]]] = list

    def _key(self, lesson_id: str) -> str:
        return self._context.key(f"lesson:{{{lesson_id}}}:sitting")

    async def sat_down(self, seat: Seat, sid: str, role: Role) -> None:
        await self._speak([(seat, sid, role)])

    async def stood_up(self, seat: Seat, sid: str) -> None:
        """Records the end of a connection, unless the seat already has another socket, here or on another node."""
        known = (await self.of_lesson(seat.lesson_id)).get(seat.person_id)
        if known is not None and known.sid != sid:
            return
        now_ms = self._context.clock_ms()
        await classroom.disconnected(self._context.record, seat.lesson_id, seat.person_id, seat.seat_id, now_ms)
        if known is not None:
            await self._put(seat.lesson_id, replace(known, connected=False, at_ms=now_ms))

    async def of_lesson(self, lesson_id: str) -> dict[str, Sitting]:
        """Everyone who ever sat in the lesson, by person. Raises RedisError when Redis is away."""
        rows = await self._context.redis.hgetall(self._key(lesson_id))
        sittings = [Sitting(**json.loads(row)) for row in rows.values()]
        return {sitting.person_id: sitting for sitting in sittings}

    async def sweep(self, lesson_id: str, sittings: dict[str, Sitting]) -> None:
        """Records as gone those whom no node has spoken for in a while. For the lesson's conductor."""
        now_ms = self._context.clock_ms()
        for sitting in sittings.values():
            if sitting.connected and now_ms - sitting.at_ms > VANISHED_MS:
                log.info("window vanished", lesson=lesson_id, person=sitting.person_id)
                await classroom.disconnected(
                    self._context.record, lesson_id, sitting.person_id, sitting.seat_id, sitting.at_ms
                )
                await self._put(lesson_id, replace(sitting, connected=False))

    async def run(self) -> None:
        """Speaks for this node's windows, for ever; an error is the caller's to log and retry."""
        while True:
            await self._speak(self.own_seats())
            await asyncio.sleep(SPEAK_S)

    async def _speak(self, seats: list[tuple[Seat, str, Role]]) -> None:
        now_ms = self._context.clock_ms()
        by_lesson: dict[str, list[Sitting]] = {}
        for seat, sid, role in seats:
            sitting = Sitting(seat.person_id, seat.seat_id, sid, role.value, True, now_ms)
            by_lesson.setdefault(seat.lesson_id, []).append(sitting)
        for lesson_id, sittings in by_lesson.items():
            await self._put(lesson_id, *sittings)

    async def _put(self, lesson_id: str, *sittings: Sitting) -> None:
        rows: dict[Any, Any] = {sitting.person_id: json.dumps(vars(sitting)) for sitting in sittings}
        pipeline = self._context.redis.pipeline(transaction=False)
        pipeline.hset(self._key(lesson_id), mapping=rows)
        pipeline.expire(self._key(lesson_id), _TTL_S)
        await pipeline.execute()
