"""What the composition root hands to the live side: the record, Redis, the media nodes, the job queue, a clock."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from celery import Celery

    from classroom import Actor, Record
    from media import MediaControl, Turn

# A command to a Redis that is away must fail soon, so that a lease knows in time that it could not be renewed.
REDIS_TIMEOUT_S = 2.0


def connect_redis(url: str) -> Redis:
    """A client that fails fast and reconnects by itself; answers are bytes. Every loop here retries on its own."""
    return Redis.from_url(
        url,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        socket_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=10,
    )


def epoch_ms() -> int:
    """UTC epoch milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(kw_only=True)
class Context:
    """One web node's live side. Built once by the web application (or a test), passed to everything here."""

    record: Record
    redis: Redis
    redis_url: str  # for Socket.IO's own manager, which wants an address
    media: MediaControl
    celery: Celery
    media_token_key: str  # signs the tokens that media nodes verify
    turn: Turn | None = None  # the TURN servers that seats are told of
    find_actor: Callable[[str], Awaitable[Actor | None]]  # who holds this session token; None when it was ended
    session_cookie: str = "anke_session"
    allowed_origins: list[str] | None = None  # None: the page's own origin only
    prefix: str = ""  # before every Redis key and channel of ours
    clock_ms: Callable[[], int] = epoch_ms
    node_id: str = field(default_factory=lambda: "n_" + secrets.token_hex(6))
    # Set whenever an action committed: the relay then looks into the outbox at once instead of at its next poll.
    outbox_nudge: asyncio.Event = field(default_factory=asyncio.Event)

    def key(self, name: str) -> str:
        return self.prefix + name

    def committed(self) -> None:
        """To be called after every action that may have written to the outbox."""
        self.outbox_nudge.set()
