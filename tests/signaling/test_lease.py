"""At most one holder, and tokens that only grow."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from signaling.lease import Lease


async def test_one_holder_at_a_time_and_a_higher_token_for_the_next(redis: Redis, redis_prefix: str) -> None:
    first = Lease(redis, "lesson:l_1", prefix=redis_prefix)
    second = Lease(redis, "lesson:l_1", prefix=redis_prefix)
    assert await first.acquire()
    assert not await second.acquire()
    assert first.held and not second.held
    fence = first.fence
    await first.release()
    assert await second.acquire()
    assert fence is not None and second.fence is not None and second.fence > fence


async def test_a_frozen_holder_knows_that_its_time_ran_out(redis: Redis, redis_prefix: str) -> None:
    frozen = Lease(redis, "lesson:l_2", prefix=redis_prefix, ttl_ms=200)
    assert await frozen.acquire()
    await asyncio.sleep(0.3)  # the time that passes is what is tested
    assert not frozen.held
    other = Lease(redis, "lesson:l_2", prefix=redis_prefix)
    assert await other.acquire()
    assert not await frozen.renew(), "renewing must not take the lease back from its new holder"
    await frozen.release()
    assert await other.renew(), "releasing a lost lease must not end another's"


async def test_an_expired_lease_is_acquired_anew_never_renewed(redis: Redis, redis_prefix: str) -> None:
    lease = Lease(redis, "lesson:l_3", prefix=redis_prefix, ttl_ms=100)
    assert await lease.acquire()
    before = lease.fence
    await asyncio.sleep(0.15)
    assert not await lease.renew()
    assert await lease.acquire()
    assert before is not None and lease.fence is not None and lease.fence > before


async def test_tokens_grow_even_when_redis_lost_its_data(redis: Redis, redis_prefix: str) -> None:
    first = Lease(redis, "lesson:l_4", prefix=redis_prefix)
    assert await first.acquire()
    before = first.fence
    assert before is not None
    await asyncio.sleep(1.0)  # tokens restart from the epoch second
    await redis.delete(*[key async for key in redis.scan_iter(f"{redis_prefix}*")])
    second = Lease(redis, "lesson:l_4", prefix=redis_prefix)
    assert await second.acquire()
    assert second.fence is not None and second.fence > before


async def test_crowd_of_nodes_gets_one_holder(redis: Redis, redis_prefix: str) -> None:
    leases = [Lease(redis, "lesson:l_5", prefix=redis_prefix) for _ in range(20)]
    won = await asyncio.gather(*(lease.acquire() for lease in leases))
    assert sum(won) == 1
