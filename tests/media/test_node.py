"""The node's place in Redis: registration that expires, events in order, endings that survive Redis being away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from media.control import MediaControl
from media.errors import MediaError
from media.keys import NODE_TTL_MS, MediaKeys
from media.node import Endings, MediaNode, MediaNodeConfig
from media.router import MediaEvent, wall_clock_ms
from media.tokens import Act, Claims

NOW_MS = 1_800_000_000_000


def config(redis_url: str, prefix: str, node_id: str = "m_one") -> MediaNodeConfig:
    return MediaNodeConfig(
        bind=(("127.0.0.1", 0),),
        http_host="127.0.0.1",
        http_port=1,
        public_url="http://127.0.0.1:1",
        control_url="http://127.0.0.1:1",
        redis_url=redis_url,
        redis_prefix=prefix,
        token_secret="t" * 32,
        control_secret="c" * 32,
        node_id=node_id,
    )


def claims(holder: str = "p_1", seat: str = "s_1", made_at_ms: int = NOW_MS) -> Claims:
    return Claims(holder, seat, "l_1", Act.PUBLISH, "x", (), made_at_ms, made_at_ms + 60_000)


def event(number: int) -> MediaEvent:
    return MediaEvent("publication_started", f"x{number}", "p_1", "s_1", "l_1", NOW_MS + number)


async def test_a_node_registers_tells_and_goes(
    media_redis: Redis, redis_url: str, redis_prefix: str, eventually: Callable[..., Awaitable[Any]]
) -> None:
    node = MediaNode(media_redis, config(redis_url, redis_prefix), wall_clock_ms)
    node.start()
    control = MediaControl(media_redis, "c" * 32, prefix=redis_prefix)
    keys = MediaKeys(redis_prefix)

    async def registered() -> bool:
        return await media_redis.exists(keys.node("m_one")) == 1

    await eventually(registered)
    assert (await control.node()).node_id == "m_one"
    assert 0 < await media_redis.pttl(keys.node("m_one")) <= NODE_TTL_MS
    for number in range(3):
        node.tell(event(number))
    await node.stop()
    told = [fields for _, fields in await media_redis.xrange(keys.events)]
    assert [fields[b"type"].decode() for fields in told] == ["node_started", *["publication_started"] * 3, "node_gone"]
    assert [fields[b"id"] for fields in told[1:4]] == [b"x0", b"x1", b"x2"]
    assert {name.decode() for name in told[1]} == {
        "type",
        "id",
        "holder",
        "seat",
        "room",
        "node_id",
        "at_ms",
        "reason",
    }
    assert not await registered()
    await asyncio.sleep(0.6)  # older than what the client believes without asking
    with pytest.raises(MediaError, match="no_node"):
        await control.node()
    await control.close()


async def test_the_longest_running_node_gets_new_sessions(
    media_redis: Redis, redis_url: str, redis_prefix: str
) -> None:
    for node_id, started_at_ms in (("m_young", NOW_MS + 5), ("m_old", NOW_MS), ("m_new", NOW_MS + 9)):
        await MediaNode(media_redis, config(redis_url, redis_prefix, node_id), lambda at=started_at_ms: at).register()
    control = MediaControl(media_redis, "c" * 32, prefix=redis_prefix)
    assert (await control.node()).node_id == "m_old"
    await control.close()


async def test_events_wait_while_redis_is_away(
    free_port: Callable[[], int], redis_prefix: str, redis_url: str, eventually: Callable[..., Awaitable[Any]]
) -> None:
    away = Redis.from_url(f"redis://127.0.0.1:{free_port()}/0", socket_connect_timeout=0.2)
    node = MediaNode(away, config(redis_url, redis_prefix), wall_clock_ms)
    node.start()
    node.tell(event(1))
    await eventually(lambda: node.redis_failures >= 2)
    assert node.snapshot()["unsent_events"] == 2
    # Redis comes back: the same node goes on where it was.
    back = Redis.from_url(redis_url)
    node._redis = back

    async def told() -> bool:
        return await back.xlen(MediaKeys(redis_prefix).events) == 2

    await eventually(told)
    await node.stop()
    await away.aclose()
    await back.aclose()


async def test_ended_seats_and_holders_are_refused_on_every_node(media_redis: Redis, redis_prefix: str) -> None:
    keys = MediaKeys(redis_prefix)
    here, elsewhere = Endings(media_redis, keys), Endings(media_redis, keys)
    assert not await elsewhere.refuses(claims())
    await here.end_seat("s_1")
    for node in (here, elsewhere):
        assert await node.refuses(claims())
        assert not await node.refuses(claims(seat="s_2"))
    await here.end_holder("p_2", keep_seat="s_kept", at_ms=NOW_MS)
    for node in (here, elsewhere):
        assert await node.refuses(claims("p_2", "s_9"))
        assert not await node.refuses(claims("p_2", "s_kept"))
        assert not await node.refuses(claims("p_2", "s_9", made_at_ms=NOW_MS + 1)), "a token made later is a new start"


async def test_tokens_of_an_ended_publication_are_refused_until_a_later_one(
    media_redis: Redis, redis_prefix: str
) -> None:
    keys = MediaKeys(redis_prefix)
    here, elsewhere = Endings(media_redis, keys), Endings(media_redis, keys)
    await here.end_publication("x", NOW_MS)
    for node in (here, elsewhere):
        assert await node.refuses(claims())
        assert not await node.refuses(claims(made_at_ms=NOW_MS + 1))
        assert not await node.refuses(replace(claims(), id="y"))
        assert not await node.refuses(replace(claims(), act=Act.PLAY)), "who may not speak may still listen"


async def test_without_redis_a_node_still_knows_what_it_was_told(free_port: Callable[[], int]) -> None:
    away = Redis.from_url(f"redis://127.0.0.1:{free_port()}/0", socket_connect_timeout=0.2)
    endings = Endings(away, MediaKeys())
    await endings.end_seat("s_1")
    assert await endings.refuses(claims())
    assert not await endings.refuses(claims(seat="s_2"))
    await away.aclose()


async def test_a_dead_node_is_no_node(media_redis: Redis, redis_prefix: str, free_port: Callable[[], int]) -> None:
    keys = MediaKeys(redis_prefix)
    url = f"http://127.0.0.1:{free_port()}"
    record = json.dumps({"control_url": url, "public_url": url, "started_at_ms": 1})
    await media_redis.set(keys.node("m_dead"), record, px=NODE_TTL_MS)
    await media_redis.zadd(keys.nodes, {"m_dead": wall_clock_ms()})
    control = MediaControl(media_redis, "c" * 32, prefix=redis_prefix)
    with pytest.raises(MediaError, match="no_node"):
        await control.tap("x")
    assert await control.flows() == []
    assert await control.end_seat("s_1") == 0
    await control.close()
