"""Pictures in transit: encoded frames wait in Redis, under a key that a job names, and expire by themselves.

A frame is never a job's argument: arguments are logged, kept in results and shown by monitoring tools.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

FRAME_TTL_S = 120
"""Longer than a queue of a full class takes, shorter than anyone could call storage (GB/T 41819: delete at once)."""


@dataclass(frozen=True)
class EncodedFrame:
    """One intra frame as it came from the learner. `codec`: vp8, vp9, h264, av1, or jpeg for enrolment shots."""

    codec: str
    data: bytes


async def put(redis: AsyncRedis, key: str, frame: bytes, codec: str, ttl_s: int = FRAME_TTL_S) -> None:
    """Keeps the frame for `ttl_s` seconds; a second put under the same key replaces it."""
    await redis.set(key, codec.encode() + b"\n" + frame, ex=ttl_s)


def take(redis: Redis, key: str) -> EncodedFrame | None:
    """The frame, or None when it expired or never was. It stays until `drop`: a job that died may be given again."""
    value = redis.get(key)
    if not isinstance(value, bytes):
        if isinstance(value, str):
            raise TypeError("frames are bytes: open Redis without decode_responses")
        return None
    codec, _, data = value.partition(b"\n")
    return EncodedFrame(codec.decode("ascii", "replace"), data)


def drop(redis: Redis, *keys: str) -> None:
    """Forgets frames that have been judged."""
    if keys:
        redis.delete(*keys)
