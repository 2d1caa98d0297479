"""Limits of what one login or person may ask for, counted in Redis and so on every web node alike.

Five failed sign-ins lock a login for a quarter of an hour (P-041); enrolments share the judge with the face checks of
running classes, so one person gets a handful of them in ten minutes.
"""

from __future__ import annotations

import hashlib

from redis.asyncio import Redis

FAILURES_ALLOWED = 5
LOCK_S = 15 * 60
ENROLMENTS_ALLOWED = 6
ENROLMENT_WINDOW_S = 10 * 60


class SignInThrottle:
    """Counts attempts before they are judged, so that parallel guesses cannot slip through between check and count."""

    def __init__(self, redis: Redis, prefix: str = "") -> None:
        self._redis = redis
        self._prefix = prefix

    def _key(self, login: str) -> str:
        # The login is hashed: what people mistype there is sometimes their password.
        return f"{self._prefix}sign-in:{hashlib.sha256(login.strip().lower().encode()).hexdigest()}"

    async def admit(self, login: str) -> int:
        """Counts an attempt; 0 when it may be judged, else the seconds until the lock opens."""
        key = self._key(login)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(key, 0, ex=LOCK_S, nx=True)
            pipe.incr(key)
            pipe.ttl(key)
            _, attempts, remaining_s = await pipe.execute()
        if attempts == FAILURES_ALLOWED:
            # The lock runs from the last judged attempt, not from the first.
            await self._redis.expire(key, LOCK_S)
        return 0 if attempts <= FAILURES_ALLOWED else max(1, int(remaining_s))

    async def forget(self, login: str) -> None:
        """After a success: earlier failures no longer count."""
        await self._redis.delete(self._key(login))


class EnrolmentAllowance:
    """A person's enrolments within a window that opens with the first."""

    def __init__(self, redis: Redis, prefix: str = "") -> None:
        self._redis = redis
        self._prefix = prefix

    async def admit(self, person_id: str) -> int:
        """Counts an enrolment; 0 when it may go on, else the seconds until the next may."""
        key = f"{self._prefix}enrolments:{person_id}"
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(key, 0, ex=ENROLMENT_WINDOW_S, nx=True)
            pipe.incr(key)
            pipe.ttl(key)
            _, asked, remaining_s = await pipe.execute()
        return 0 if asked <= ENROLMENTS_ALLOWED else max(1, int(remaining_s))
