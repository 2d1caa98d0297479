"""What media nodes say happened (`media:events`): the conductor concerned looks at once, not at its next round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import TimeoutError as RedisTimeoutError

from signaling.event_log import entries_of

if TYPE_CHECKING:
    from signaling.conductors import Conductors
    from signaling.context import Context
    from signaling.floor import Floor

STREAM = "media:events"
BLOCK_MS = 1000
OF_INTEREST = frozenset({b"publication_started", b"publication_ended", b"node_started"})


class MediaEvents:
    """Only a hint: whatever is missed here the conductor sees when it samples the nodes a second later.

    Who speaks is told here alone; a word that was missed is made good by the next one of that person.
    """

    def __init__(self, context: Context, conductors: Conductors, floor: Floor) -> None:
        self._context = context
        self._conductors = conductors
        self._floor = floor

    async def run(self) -> None:
        """For ever; an error is the caller's to log and retry."""
        stream = self._context.key(STREAM)
        last = b"$"
        while True:
            try:
                answer = await self._context.redis.xread({stream: last}, count=200, block=BLOCK_MS)
            except RedisTimeoutError:
                continue
            if not answer:
                continue
            entries = entries_of(answer)
            last = entries[-1][0]
            rooms = {f.get(b"room", b"").decode() for _, f in entries if f.get(b"type") in OF_INTEREST}
            for lesson_id in rooms:
                self._conductors.wake(lesson_id)
            for entry_id, fields in entries:
                told = [fields.get(name, b"").decode() for name in (b"type", b"id", b"holder", b"room", b"reason")]
                await self._floor.heard(entry_id.decode(), *told)
