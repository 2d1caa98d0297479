"""Every event numbered once, in order; `since` gives exactly what came after."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from signaling.event_log import EventLog
from signaling.protocol import Envelope


def _chat(text: str, to: str = "all") -> Envelope:
    return Envelope(seq=0, at_ms=1, type="notice.posted", to=to, data={"from_name": "老师", "text": text})


async def test_numbers_grow_by_one_and_since_returns_the_rest(redis: Redis, redis_prefix: str) -> None:
    log = EventLog(redis, prefix=redis_prefix)
    assert await log.head("l_1") == 0
    first, second, third = await log.append("l_1", [(str(n), _chat(str(n))) for n in range(3)])
    assert (second, third) == (first + 1, first + 2)
    assert await log.head("l_1") == third
    assert [e.data["text"] for e in await log.since("l_1", first)] == ["1", "2"]
    assert [e.seq for e in await log.since("l_1", 0, until=second)] == [first, second]
    assert await log.since("l_1", third) == []
    assert await log.since("l_2", 0) == []


async def test_the_same_outbox_row_is_logged_once(redis: Redis, redis_prefix: str) -> None:
    log = EventLog(redis, prefix=redis_prefix)
    before = await log.append("l_1", [("7", _chat("a")), ("8", _chat("b"))])
    again = await log.append("l_1", [("7", _chat("a")), ("8", _chat("b")), ("9", _chat("c"))])
    assert again[:2] == before
    assert [e.data["text"] for e in await log.since("l_1", 0)] == ["a", "b", "c"]


async def test_many_writers_leave_no_gap_and_no_duplicate(redis: Redis, redis_prefix: str) -> None:
    log = EventLog(redis, prefix=redis_prefix)
    await asyncio.gather(*(log.append("l_1", [(f"{w}-{n}", _chat("x")) for n in range(20)]) for w in range(10)))
    numbers = [e.seq for e in await log.since("l_1", 0)]
    assert numbers == list(range(numbers[0], numbers[0] + 200))


async def test_waiting_returns_as_soon_as_something_comes(redis: Redis, redis_prefix: str) -> None:
    log = EventLog(redis, prefix=redis_prefix)
    (first,) = await log.append("l_1", [("1", _chat("a"))])
    waiting = asyncio.create_task(log.wait("l_1", first, block_ms=1500))
    await asyncio.sleep(0)
    (second,) = await log.append("l_1", [("2", _chat("b"))])
    envelopes, newest = await asyncio.wait_for(waiting, 1.4)
    assert [e.data["text"] for e in envelopes] == ["b"] and newest == second
    assert await log.wait("l_1", second, block_ms=10) == ([], second)


async def test_an_event_this_version_cannot_read_is_stepped_over(redis: Redis, redis_prefix: str) -> None:
    log = EventLog(redis, prefix=redis_prefix)
    (first,) = await log.append("l_1", [("1", _chat("a"))])
    await redis.xadd(f"{redis_prefix}lesson:{{l_1}}:log", {"e": '{"at_ms":1,"shape":"new"}'}, id=f"{first + 1}-0")
    assert await log.wait("l_1", first, block_ms=10) == ([], first + 1)


async def test_a_log_lost_with_redis_begins_above_every_number_seen(redis: Redis, redis_prefix: str) -> None:
    log = EventLog(redis, prefix=redis_prefix)
    seen = (await log.append("l_1", [(str(n), _chat("x")) for n in range(3)]))[-1]
    await asyncio.sleep(0.01)
    await redis.delete(*[key async for key in redis.scan_iter(f"{redis_prefix}*")])
    (after,) = await log.append("l_1", [("3", _chat("y"))])
    assert after > seen
    assert [e.data["text"] for e in await log.since("l_1", seen)] == ["y"]


async def test_the_log_is_trimmed(redis: Redis, redis_prefix: str) -> None:
    log = EventLog(redis, prefix=redis_prefix, length=100)
    await log.append("l_1", [(str(n), _chat("x")) for n in range(500)])
    assert 100 <= len(await log.since("l_1", 0)) < 300
