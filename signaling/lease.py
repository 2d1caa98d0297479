"""A lease in Redis: at most one holder, who carries a fencing token that only grows.

A lease alone cannot stop a holder that was frozen past its time; the fencing token can: every write of a holder
carries it and the record refuses one lower than it has seen (Kleppmann, "How to do distributed locking", 2016).

The token starts at the epoch second, so that a Redis which lost its data cannot hand out tokens the record has
already seen.
"""

from __future__ import annotations

import secrets
import time

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

LEASE_TTL_MS = 4000
LEASE_RENEW_S = 1.0

log = structlog.get_logger(__name__)

# KEYS: lease, fence; ARGV: holder, ttl_ms. Answers the fencing token, or 0 when another holds the lease.
_ACQUIRE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
local now_s = tonumber(redis.call('TIME')[1])
local fence = redis.call('INCR', KEYS[2])
if fence < now_s then
  redis.call('SET', KEYS[2], string.format('%.0f', now_s))
  fence = now_s
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return fence
"""

# KEYS: lease; ARGV: holder, ttl_ms. Renews only one's own. A lease that expired unseen is not renewed: someone may
# have held it in between, so its old holder must acquire again and get a higher token.
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Lease:
    """One name, one would-be holder. Not shared between tasks that acquire and release on their own."""

    def __init__(self, redis: Redis, name: str, *, prefix: str = "", ttl_ms: int = LEASE_TTL_MS) -> None:
        self.name = name
        self.ttl_ms = ttl_ms
        self.fence: int | None = None
        self._redis = redis
        self._holder = secrets.token_hex(8)
        # One hash tag, so that both keys live in the same slot of a cluster.
        self._keys = [f"{prefix}lease:{{{name}}}", f"{prefix}lease:{{{name}}}:fence"]
        self._valid_until_s = 0.0

    @property
    def held(self) -> bool:
        """True while nobody else can hold it, judged by this process's monotonic clock, even with Redis away."""
        return self.fence is not None and time.monotonic() < self._valid_until_s

    async def acquire(self) -> bool:
        """Takes the lease if it is free; `fence` then holds the token. Raises RedisError when Redis is away."""
        asked_at_s = time.monotonic()
        fence = int(await self._redis.eval(_ACQUIRE, 2, *self._keys, self._holder, str(self.ttl_ms)))
        if fence == 0:
            self.fence = None
            return False
        self.fence = fence
        self._valid_until_s = asked_at_s + self.ttl_ms / 1000
        return True

    async def renew(self) -> bool:
        """False when the lease is lost for sure; with Redis away it stays held until its time has run out."""
        asked_at_s = time.monotonic()
        try:
            renewed = int(await self._redis.eval(_RENEW, 1, self._keys[0], self._holder, str(self.ttl_ms)))
        except (RedisError, OSError) as error:
            log.warning("lease not renewed", lease=self.name, reason=str(error), still_held=self.held)
            return self.held
        if not renewed:
            self.fence = None
            return False
        self._valid_until_s = asked_at_s + self.ttl_ms / 1000
        return True

    async def release(self) -> None:
        """Gives the lease up at once, so that another need not wait for its time to run out."""
        if self.fence is None:
            return
        self.fence = None
        try:
            await self._redis.eval(_RELEASE, 1, self._keys[0], self._holder)
        except (RedisError, OSError) as error:
            log.warning("lease left to run out", lease=self.name, reason=str(error))
