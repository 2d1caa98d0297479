"""How the class looks at a viewer's end, as the browser tells it: kept briefly for operators, never evidence."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis

from signaling.lesson_namespace import Call, Window
from signaling.protocol import MediaSeen, Nothing

if TYPE_CHECKING:
    from signaling.context import Context

# Pages tell every ten seconds; one lost report leaves the last one standing, two do not.
KEPT_MS = 25_000


def _key(prefix: str, seat_id: str) -> str:
    return f"{prefix}hint:{seat_id}"


class Hints:
    def __init__(self, context: Context) -> None:
        self._context = context

    def calls(self) -> dict[str, Call]:
        return {"media.seen": self.seen}

    async def seen(self, window: Window, payload: MediaSeen) -> Nothing:
        seat, _, _ = window.sitting()
        told = {"at_ms": self._context.clock_ms(), **payload.model_dump(mode="json")}
        await self._context.redis.set(_key(self._context.prefix, seat.seat_id), json.dumps(told), px=KEPT_MS)
        return Nothing()


async def hints_of(redis: Redis, seat_ids: Iterable[str], prefix: str = "") -> dict[str, dict[str, Any]]:
    """The last report of each seat that told one lately: `at_ms`, `over_ms`, `slots` (name → `SlotSeen`)."""
    wanted = sorted(set(seat_ids))
    if not wanted:
        return {}
    found = await redis.mget([_key(prefix, seat_id) for seat_id in wanted])
    return {seat_id: json.loads(told) for seat_id, told in zip(wanted, found, strict=True) if told is not None}
