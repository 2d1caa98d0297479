"""One media node's place in the installation: its registration, its events, and who may no longer use it.

All of it is in Redis and tolerates Redis being away: heartbeats and events are tried again until they are through.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from media.ice_servers import IceServer, Turn
from media.keys import ENDED_TTL_S, EVENTS_MAX_LENGTH, HEARTBEAT_S, NODE_TTL_MS, MediaKeys
from media.registry import NodeInfo, Registry
from media.tokens import Act, Claims

if TYPE_CHECKING:
    from media.router import MediaEvent

logger = logging.getLogger(__name__)

RETRY_S = 0.5
# A POST must not hang on a Redis that is away: what this node itself was told is asked then.
ENDED_LOOKUP_TIMEOUT_S = 0.5
MAX_REMEMBERED_ENDINGS = 20_000


@dataclass(frozen=True, slots=True)
class MediaNodeConfig:
    """Everything that one media node is told. URLs have no trailing slash.

    `bind`: UDP (address, port) pairs. `announced`: the IP addresses written into answers, first the best; empty means
    the bound ones. `public_url`: what browsers reach WHIP and WHEP by; `control_url`: what web nodes reach it by.
    """

    bind: tuple[tuple[str, int], ...]
    http_host: str
    http_port: int
    public_url: str
    control_url: str
    redis_url: str
    token_secret: str
    control_secret: str
    announced: tuple[str, ...] = ()
    origins: tuple[str, ...] = ("*",)
    ice_servers: tuple[IceServer, ...] = ()  # without credentials, or with everyone's
    turn: Turn | None = None
    redis_prefix: str = ""
    node_id: str = field(default_factory=lambda: "m_" + secrets.token_hex(6))
    max_sessions: int = 4000
    history_packets: int = 1024
    threads: int = 1
    tcp: bool = True  # the same port numbers on TCP, for who gets no UDP through (RFC 6544)
    handshake_timeout_s: float = 15.0


class Endings:
    """Seats, holders and publications whose tokens are refused: in Redis for every node, in memory for when Redis is
    away."""

    def __init__(self, redis: Redis, keys: MediaKeys) -> None:
        self._redis = redis
        self._keys = keys
        self._seats: dict[str, None] = {}
        self._holders: dict[str, tuple[int, str | None]] = {}
        self._publications: dict[str, int] = {}

    async def end_seat(self, seat: str) -> None:
        _remember(self._seats, seat, None)
        await self._keep(self._keys.ended_seat(seat), "1")

    async def end_holder(self, holder: str, keep_seat: str | None, at_ms: int) -> None:
        _remember(self._holders, holder, (at_ms, keep_seat))
        await self._keep(self._keys.ended_holder(holder), json.dumps({"at_ms": at_ms, "keep_seat": keep_seat}))

    async def end_publication(self, publication_id: str, at_ms: int) -> None:
        _remember(self._publications, publication_id, max(at_ms, self._publications.get(publication_id, 0)))
        await self._keep(self._keys.ended_publication(publication_id), str(at_ms))

    async def _keep(self, key: str, value: str) -> None:
        try:
            await self._redis.set(key, value, ex=ENDED_TTL_S)
        except (RedisError, OSError) as error:
            logger.warning("%s kept in memory only: %s", key, error)

    async def refuses(self, claims: Claims) -> bool:
        """True when this token's seat, holder or publication was ended after it was made."""
        if self._told_to_refuse(claims):
            return True
        keys = [self._keys.ended_seat(claims.seat), self._keys.ended_holder(claims.holder)]
        if claims.act is Act.PUBLISH:
            keys.append(self._keys.ended_publication(claims.id))
        try:
            async with asyncio.timeout(ENDED_LOOKUP_TIMEOUT_S):
                seat, holder, *ended = await self._redis.mget(keys)
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("ended seats unknown, asked own memory only: %s", error)
            return self._told_to_refuse(claims)
        # The ending may have reached this node while Redis, asked before it, was still answering.
        if seat is not None or self._told_to_refuse(claims):
            return True
        if any(at_ms is not None and claims.made_at_ms <= int(at_ms) for at_ms in ended):
            return True
        if holder is None:
            return False
        told = json.loads(holder)
        return self._holder_refuses(claims, (told["at_ms"], told["keep_seat"]))

    def _told_to_refuse(self, claims: Claims) -> bool:
        ended_at_ms = self._publications.get(claims.id) if claims.act is Act.PUBLISH else None
        if ended_at_ms is not None and claims.made_at_ms <= ended_at_ms:
            return True
        return claims.seat in self._seats or self._holder_refuses(claims, self._holders.get(claims.holder))

    @staticmethod
    def _holder_refuses(claims: Claims, ended: tuple[int, str | None] | None) -> bool:
        return ended is not None and claims.made_at_ms <= ended[0] and claims.seat != ended[1]


def _remember(memory: dict[str, Any], key: str, value: Any) -> None:
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > MAX_REMEMBERED_ENDINGS:
        del memory[next(iter(memory))]


class MediaNode:
    """Registers the node, keeps it registered, and carries its events to the stream in order, at least once."""

    def __init__(self, redis: Redis, config: MediaNodeConfig, clock_ms: Callable[[], int]) -> None:
        self.node_id = config.node_id
        self.keys = MediaKeys(config.redis_prefix)
        self.endings = Endings(redis, self.keys)
        self.started_at_ms = clock_ms()
        self.redis_failures = 0
        self._redis = redis
        self._clock_ms = clock_ms
        self.draining = False
        # Set by whoever can tell: how busy the node is, and what else a heartbeat carries.
        self.load: Callable[[], dict[str, Any]] = dict
        self.on_beat: Callable[[], Awaitable[None]] | None = None
        self._config = config
        self._registry = Registry(redis, self.keys)
        # All nodes, this one among them, as of the last heartbeat.
        self.nodes: list[NodeInfo] = []
        # By URL of a TURN server, why it does not relay to this node; None where none is to, or nothing is known yet.
        self.relay_problems: dict[str, str] | None = None
        self._unsent: deque[dict[Any, Any]] = deque(maxlen=EVENTS_MAX_LENGTH)
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._add({"type": "node_started", "id": self.node_id})
        self._tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._carry())]

    def tell(self, event: MediaEvent) -> None:
        """Queues an event for the stream. Never blocks; the oldest are dropped after `EVENTS_MAX_LENGTH` unsent."""
        self._add(asdict(event))

    def _add(self, fields: dict[str, Any]) -> None:
        common = {"holder": "", "seat": "", "room": "", "reason": "", "at_ms": self._clock_ms()}
        self._unsent.append({**common, **fields, "node_id": self.node_id})
        self._wake.set()

    async def register(self) -> None:
        """One heartbeat. RedisError or OSError when Redis is away."""
        async with self._redis.pipeline(transaction=False) as pipe:
            now_ms = self._clock_ms()
            pipe.set(self.keys.node(self.node_id), self.info(now_ms).record(), px=NODE_TTL_MS)
            pipe.zadd(self.keys.nodes, {self.node_id: now_ms})
            pipe.zremrangebyscore(self.keys.nodes, "-inf", now_ms - 10 * NODE_TTL_MS)
            await pipe.execute()
        self.nodes = await self._registry.nodes()
        if self.on_beat is not None:
            await self.on_beat()

    def others(self) -> list[NodeInfo]:
        """Nodes that can take over from this one. One at this one's address was this one, before it was restarted."""
        own = self._config.control_url
        return [node for node in self.nodes if node.control_url != own and not node.draining]

    async def drain(self, draining: bool = True) -> None:
        """From now on the node takes nothing new where others can; whoever it has is told (by the lesson's side) to
        go to another one. Said at once as far as Redis is there, else with the next heartbeat."""
        self.draining = draining
        try:
            await self.register()
        except (RedisError, OSError) as error:
            logger.warning("the next heartbeat says that the node drains: %s", error)

    def info(self, now_ms: int) -> NodeInfo:
        """What the node says of itself."""
        config = self._config
        return NodeInfo(
            self.node_id,
            config.control_url,
            config.public_url,
            self.started_at_ms,
            beat_ms=now_ms,
            max_sessions=config.max_sessions,
            draining=self.draining,
            relay_problems=self.relay_problems,
            **self.load(),
        )

    async def _beat(self) -> None:
        while True:
            try:
                await self.register()
            except (RedisError, OSError) as error:
                self.redis_failures += 1
                logger.warning("heartbeat failed: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                await asyncio.sleep(HEARTBEAT_S)

    async def _carry(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._unsent:
                event = self._unsent[0]
                try:
                    await self._redis.xadd(self.keys.events, event, maxlen=EVENTS_MAX_LENGTH, approximate=True)
                except (RedisError, OSError) as error:
                    self.redis_failures += 1
                    logger.warning("%d media events wait for Redis: %s", len(self._unsent), error)
                    await asyncio.sleep(RETRY_S)
                    continue
                if self._unsent and self._unsent[0] is event:
                    self._unsent.popleft()

    async def stop(self) -> None:
        """Says that the node is gone, as far as Redis listens within a second."""
        self._add({"type": "node_gone", "id": self.node_id})
        for _ in range(20):
            if not self._unsent:
                break
            await asyncio.sleep(0.05)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(1.0):
                await self._redis.delete(self.keys.node(self.node_id))
                await self._redis.zrem(self.keys.nodes, self.node_id)
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("the node's registration is left to expire: %s", error)

    def snapshot(self) -> dict[str, object]:
        return {
            "node_id": self.node_id,
            "started_at_ms": self.started_at_ms,
            "draining": self.draining,
            "unsent_events": len(self._unsent),
            "redis_failures": self.redis_failures,
            "relay_problems": self.relay_problems,
        }
