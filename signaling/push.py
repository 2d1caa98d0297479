"""The outbox → the event log: one relay at a time, after commit, at least once; the log keeps each row once.

Actions write what must be told into the outbox in their own transaction, so nothing is told that did not happen and
nothing that happened stays untold, whichever process dies in between.
"""

from __future__ import annotations

import asyncio
import contextlib
from itertools import groupby
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError
from redis.exceptions import RedisError

import classroom
from signaling.event_log import EventLog
from signaling.lease import LEASE_RENEW_S, Lease
from signaling.protocol import TELLS, Envelope
from signaling.upkeep import wait_for_event

if TYPE_CHECKING:
    from classroom import OutboxRow
    from signaling.context import Context

POLL_S = 0.5
BACKOFF_S = 0.3
BATCH = 200
NUDGE_CHANNEL = "outbox"

log = structlog.get_logger(__name__)


def envelope_of(row: OutboxRow) -> Envelope | None:
    """The envelope of an outbox row, every field of its payload filled in; None for a row that breaks the contract.

    Such a row is our bug. It is logged and passed over: the class behind it must not wait for ever.
    """
    payload = TELLS.get(row.type)
    if payload is None:
        log.error("outbox row of unknown type", outbox_id=row.id, type=row.type)
        return None
    try:
        data = payload.model_validate(row.data).model_dump(mode="json")
    except ValidationError as error:
        log.error("outbox row breaks the contract", outbox_id=row.id, type=row.type, reason=str(error))
        return None
    return Envelope(seq=0, at_ms=row.at_ms, type=row.type, to=row.to, data=data)


class Relay:
    """Moves the outbox into the logs while this node holds the relay's lease."""

    def __init__(self, context: Context, event_log: EventLog) -> None:
        self._context = context
        self._log = event_log
        self._lease = Lease(context.redis, "outbox-relay", prefix=context.prefix)

    @property
    def relaying(self) -> bool:
        return self._lease.held

    async def run(self) -> None:
        """For ever; survives Redis, the database and other relays."""
        loop = asyncio.get_running_loop()
        renew_at_s = 0.0
        while True:
            try:
                if not self._lease.held:
                    if not await self._lease.acquire():
                        await asyncio.sleep(POLL_S)
                        continue
                    renew_at_s = loop.time() + LEASE_RENEW_S
                elif loop.time() >= renew_at_s:
                    renew_at_s = loop.time() + LEASE_RENEW_S
                    if not await self._lease.renew():
                        continue
                moved = await self.move()
            except asyncio.CancelledError:
                await self._lease.release()
                raise
            except Exception as error:  # noqa: BLE001  (the loop outlives whatever the database driver raises)
                log.warning("outbox not moved", reason=repr(error))
                await asyncio.sleep(BACKOFF_S)
                continue
            if moved < BATCH:
                await wait_for_event(self._context.outbox_nudge, POLL_S)

    async def move(self) -> int:
        """One batch from the outbox into the logs; how many rows it had."""
        rows = await classroom.unsent_outbox(self._context.record, BATCH)
        for lesson_id, of_lesson in groupby(rows, key=lambda row: row.lesson_id):
            events = [(str(row.id), envelope) for row in of_lesson if (envelope := envelope_of(row)) is not None]
            if events:
                await self._log.append(lesson_id, events)
        if rows:
            await classroom.mark_sent(self._context.record, [row.id for row in rows])
        return len(rows)


async def listen_for_nudges(context: Context) -> None:
    """Workers and other nodes say on a channel that they committed; returns only by an error of the connection."""
    async with context.redis.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe(context.key(NUDGE_CHANNEL))
        while True:
            if await subscription.get_message(timeout=1.0) is not None:
                context.outbox_nudge.set()


async def nudge_relays(context: Context) -> None:
    """Tells the relay, wherever it runs, that the outbox has something. A lost nudge costs one poll's delay."""
    context.outbox_nudge.set()
    with contextlib.suppress(RedisError, OSError):
        await context.redis.publish(context.key(NUDGE_CHANNEL), b"1")
