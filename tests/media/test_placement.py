"""Which node a new session goes to, and what the registry keeps of each node."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from redis.asyncio import Redis

from media.keys import MediaKeys
from media.placement import TOGETHER_BELOW, choose, load_of
from media.registry import NodeInfo, Registry


def node(node_id: str, **changes: Any) -> NodeInfo:
    return NodeInfo(node_id, f"http://{node_id}", f"http://{node_id}", 1, **({"max_sessions": 100} | changes))


def test_without_a_node_there_is_no_choice() -> None:
    assert choose([]) is None


def test_the_least_loaded_takes_the_next() -> None:
    a, b = node("a", sessions=30), node("b", sessions=10)
    assert choose([a, b]) == b
    assert choose([a, node("b", sessions=10, cpu=0.9)]) == a, "places are free, the processor is not"
    assert choose([node("a"), node("b")]) == node("a"), "of equals the longest running"


def test_a_lesson_stays_together_while_there_is_room_then_it_spreads() -> None:
    here, idle = node("here", sessions=40, rooms={"l_1": 40}), node("idle")
    assert choose([here, idle], "l_1") == here
    assert choose([here, idle], "l_2") == idle
    full = node("here", sessions=int(TOGETHER_BELOW * 100), rooms={"l_1": 60})
    assert choose([full, idle], "l_1") == idle
    both = [node("a", sessions=50, rooms={"l_1": 50}), node("b", sessions=20, rooms={"l_1": 20})]
    assert choose(both, "l_1") == both[1]


def test_a_rush_between_two_heartbeats_is_counted() -> None:
    nodes = [node("a"), node("b")]
    sent: Counter[tuple[str, str | None]] = Counter()
    for _ in range(80):
        chosen = choose(nodes, "l_1", sent)
        assert chosen is not None
        sent[chosen.node_id, "l_1"] += 1
    assert sent == {("a", "l_1"): 60, ("b", "l_1"): 20}, "one lesson together as far as there is room"
    chosen = choose(nodes, "l_2", sent)
    assert chosen is not None and chosen.node_id == "b"
    assert load_of(node("a", sessions=10, cpu=0.2), 10) == 0.4


def test_a_draining_node_takes_nothing_unless_all_drain() -> None:
    leaving, busy = node("a", draining=True, rooms={"l_1": 5}, sessions=5), node("b", sessions=99)
    assert choose([leaving, busy], "l_1") == busy
    assert choose([leaving], "l_1") == leaving


async def test_a_record_of_a_newer_version_is_read(media_redis: Redis, redis_prefix: str) -> None:
    keys, told = MediaKeys(redis_prefix), node("m_1", addresses=(("192.0.2.1", 7), ("2001:db8::1", 7)), rooms={"l": 2})
    record = json.loads(told.record()) | {"colour": "green"}
    await media_redis.set(keys.node("m_1"), json.dumps(record))
    await media_redis.zadd(keys.nodes, {"m_1": 1, "m_gone": 1})
    assert await Registry(media_redis, keys).nodes() == [told]
