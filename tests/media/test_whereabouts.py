"""Which node has a publication: the newest claim holds, wherever the nodes' clocks stand."""

from __future__ import annotations

from redis.asyncio import Redis

from media.keys import NODE_TTL_MS, MediaKeys
from media.whereabouts import Directory


async def test_the_newest_claim_holds_and_the_older_node_hears_of_it(media_redis: Redis, redis_prefix: str) -> None:
    keys = MediaKeys(redis_prefix)
    a, b = Directory(media_redis, keys, "m_a"), Directory(media_redis, keys, "m_b")
    first = (await a.claim({"x": 0, "y": 0}))["x"]
    assert first.node_id == "m_a"
    assert await b.find(["x", "z"]) == {"x": first}
    assert await a.claim({"x": first.since_us}) == {"x": first}, "renewed, not made anew"
    moved = (await b.claim({"x": 0}))["x"]
    assert moved.node_id == "m_b" and moved.since_us > first.since_us
    assert (await a.claim({"x": first.since_us}))["x"] == moved
    await a.release("x")
    assert await a.find(["x"]) == {"x": moved}, "only its holder gives a claim back"
    await b.release("x")
    assert set(await a.find(["x", "y"])) == {"y"}
    assert 0 < await media_redis.pttl(keys.publication("y")) <= NODE_TTL_MS


async def test_a_claim_survives_a_redis_that_lost_its_data(media_redis: Redis, redis_prefix: str) -> None:
    a = Directory(media_redis, MediaKeys(redis_prefix), "m_a")
    held = (await a.claim({"x": 0}))["x"]
    await media_redis.delete(MediaKeys(redis_prefix).publication("x"))
    assert await a.claim({"x": held.since_us}) == {"x": held}
