"""Two web nodes, one class: messages cross, nothing is lost over reconnects, one window per person, a node may die."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import classroom
from classroom import StaleFence
from signaling.lease import Lease
from signaling.protocol import ErrorCode


async def test_two_web_nodes_share_a_class(world: Any, make_node: Any, open_page: Any, until: Any) -> None:
    here, there = await make_node(), await make_node()
    one, two = await open_page(world, "l1", here), await open_page(world, "l2", there)
    for page in (one, two):
        await page.join(world.lesson_id)
    for n in range(4):
        await (one, two)[n % 2].ok("chat.send", client_id=f"client-id-{n}", text=str(n))
    for page in (one, two):
        await until(lambda page=page: len(page.of_type("chat.posted")) >= 4)
        assert [data["message"]["text"] for data in page.of_type("chat.posted")] == ["0", "1", "2", "3"]
    ours = {e["seq"]: e for e in one.heard if e["to"] == "all"}
    theirs = {e["seq"]: e for e in two.heard if e["to"] == "all"}
    both = ours.keys() & theirs.keys()
    assert len(both) >= 4 and all(ours[seq] == theirs[seq] for seq in both)


async def test_a_client_that_reconnects_with_since_misses_nothing(
    world: Any, make_node: Any, open_page: Any, until: Any
) -> None:
    """In the middle of a burst of events one window loses its socket again and again, coming back to either node."""
    nodes = [await make_node(), await make_node()]
    steady = await open_page(world, "l2", nodes[0])
    await steady.join(world.lesson_id)
    count, pause_s = 60, 0.02

    async def burst() -> None:
        for n in range(count):
            await classroom.post_notice(
                world.record, world.lesson_id, world.people["teacher"], None, f"{n}", nodes[0].context.clock_ms()
            )
            nodes[n % 2].context.committed()
            await asyncio.sleep(pause_s)

    window = "window-that-wobbles"
    applied: list[dict[str, Any]] = []
    seq = 0
    bursting = asyncio.create_task(burst())
    rounds = 0
    while not bursting.done() or rounds < 4:
        page = await open_page(world, "l1", nodes[rounds % 2], window_id=window)
        joined = await page.join(world.lesson_id, since=seq)
        applied += joined["missed"]
        seq = joined["seq"]
        await asyncio.sleep(0.15)
        await page.close()
        # What the page heard before its socket died is applied, in order, each number once.
        for envelope in page.heard:
            assert envelope["seq"] > seq, "an event came twice or out of order"
            applied.append(envelope)
            seq = envelope["seq"]
        rounds += 1
    await bursting
    await until(lambda: len(steady.of_type("notice.posted")) == count)
    last = await open_page(world, "l1", nodes[0], window_id=window)
    applied += (await last.join(world.lesson_id, since=seq))["missed"]
    texts = [e["data"]["text"] for e in applied if e["type"] == "notice.posted"]
    assert texts == [str(n) for n in range(count)]
    numbers = [e["seq"] for e in applied]
    assert numbers == sorted(set(numbers))
    assert rounds >= 4


async def test_r060_a_second_window_ends_the_first_on_another_node_within_five_seconds(
    world: Any, make_node: Any, open_page: Any, until: Any
) -> None:
    here, there = await make_node(), await make_node()
    first = await open_page(world, "l1", here)
    await first.join(world.lesson_id)
    began_s = time.monotonic()
    second = await open_page(world, "l1", there)
    await second.join(world.lesson_id)
    await until(lambda: first.ended and first.disconnects, 5)
    assert time.monotonic() - began_s < 5
    assert first.ended == [{"reason": "second_window"}]
    await second.ok("chat.send", client_id="client-id-1", text="我在这里")
    # The first window's own reconnect does not throw the second one out.
    back = await open_page(world, "l1", here, window_id=first.window_id)
    refused = await back.refused("join", lesson_id=world.lesson_id, window_id=first.window_id)
    assert refused == ErrorCode.SEAT_TAKEN
    assert not second.ended


async def test_r060_a_window_that_lost_its_seat_cannot_answer_for_its_person(
    world: Any, make_node: Any, open_page: Any
) -> None:
    node = await make_node()
    teacher, first = await open_page(world, "teacher", node), await open_page(world, "l1", node)
    for page in (teacher, first):
        await page.join(world.lesson_id)
    await teacher.ok("class.start")
    ping = (await first.hears("ping.opened"))["ping"]
    # The seat changes hands while this node has not heard of it: its notices are held up.
    await node.live._loops.stop()
    await node.live.seats.take(world.people["l1"], world.sessions["l1"], "another-window", world.lesson_id)
    assert await first.refused("ping.answer", ping_id=ping["ping_id"]) == ErrorCode.SEAT_TAKEN


async def test_r061_a_second_sign_in_ends_the_first_sessions_socket_within_five_seconds(
    world: Any, make_node: Any, open_page: Any, until: Any
) -> None:
    here, there = await make_node(), await make_node()
    first = await open_page(world, "l1", here)
    await first.join(world.lesson_id)
    signed = await classroom.sign_in(world.record, "l1", "Correct-horse-9", "other device", "127.0.0.2")
    assert signed.ended_sessions == [world.sessions["l1"]]
    began_s = time.monotonic()
    for session_id in signed.ended_sessions:
        await there.live.end_session(world.people["l1"], session_id, "second_sign_in")
    await until(lambda: first.ended and first.disconnects, 5)
    assert time.monotonic() - began_s < 5
    assert first.ended == [{"reason": "second_sign_in"}]
    world.tokens["l1"] = signed.token
    second = await open_page(world, "l1", there)
    await second.join(world.lesson_id)


async def test_a_reconnect_of_the_same_window_keeps_the_seat(world: Any, make_node: Any, open_page: Any) -> None:
    here, there = await make_node(), await make_node()
    page = await open_page(world, "l1", here)
    await page.join(world.lesson_id)
    seat = await here.live.seats.holder(world.people["l1"])
    await page.close()
    back = await open_page(world, "l1", there, window_id=page.window_id)
    joined = await back.join(world.lesson_id)
    assert joined["you"]["connected"] is True
    assert await there.live.seats.holder(world.people["l1"]) == seat


async def test_a_killed_conductor_is_followed_by_another_and_its_absence_is_a_fault(
    world: Any, spawn_node: Any, make_node: Any, open_page: Any, until: Any
) -> None:
    """The class goes on within the lease; nobody is marked for the time in which nobody conducted."""
    doomed = await spawn_node("n_doomed")
    teacher = await open_page(world, "teacher", doomed)
    await teacher.join(world.lesson_id)
    await teacher.ok("class.start")
    learner = await open_page(world, "l1", doomed)
    await learner.join(world.lesson_id)
    ping = await learner.hears("ping.opened")
    seq = learner.heard[-1]["seq"]
    heir = await make_node()
    doomed.kill()
    killed_s = time.monotonic()
    back = await open_page(world, "l1", heir, window_id=learner.window_id)
    joined = await back.join(world.lesson_id, since=seq)
    assert joined["lesson"]["state"] == "live"
    await until(lambda: heir.live.conductors.conducting() == [world.lesson_id], 30)
    fault = await back.hears("fault.recorded", within_s=30)
    assert time.monotonic() - killed_s < 15
    assert fault["what"] == "conductor_absent" and fault["to_ms"] - fault["from_ms"] >= 3000
    later = await back.hears("ping.opened", within_s=30)
    assert later["ping"]["ping_id"] != ping["ping"]["ping_id"]
    entries = await classroom.evidence_of(world.record, world.lesson_id, world.people["l1"])
    assert not [e for e in entries if e.get("body", {}).get("outcome") == "missed"], entries


async def test_a_frozen_conductor_writes_nothing_after_it_was_followed(
    world: Any, redis: Any, redis_prefix: str
) -> None:
    """The lease's fencing token is refused by the record once a higher one has written."""
    await classroom.start_lesson(world.record, world.lesson_id, world.people["teacher"])
    frozen = Lease(redis, f"lesson:{world.lesson_id}", prefix=redis_prefix, ttl_ms=100)
    assert await frozen.acquire()
    await asyncio.sleep(0.15)
    heir = Lease(redis, f"lesson:{world.lesson_id}", prefix=redis_prefix)
    assert await heir.acquire()
    now_ms = time.time_ns() // 1_000_000
    person = world.people["l1"]
    await classroom.open_ping(world.record, world.lesson_id, person, now_ms, now_ms + 1000, 0, heir.fence)
    try:
        await classroom.open_ping(world.record, world.lesson_id, person, now_ms, now_ms + 1000, 1, frozen.fence)
    except StaleFence:
        pass
    else:
        raise AssertionError("a conductor that lost its lease wrote into the record")


async def test_only_one_of_two_nodes_conducts(world: Any, make_node: Any, open_page: Any, until: Any) -> None:
    nodes = [await make_node(), await make_node()]
    teacher = await open_page(world, "teacher", nodes[0])
    await teacher.join(world.lesson_id)
    await teacher.ok("class.start")
    await until(lambda: any(node.live.conductors.conducting() for node in nodes))
    for _ in range(20):
        assert sum(bool(node.live.conductors.conducting()) for node in nodes) == 1
        await asyncio.sleep(0.05)
    conducting = next(node for node in nodes if node.live.conductors.conducting())
    other = next(node for node in nodes if node is not conducting)
    await conducting.stop()
    await until(lambda: other.live.conductors.conducting() == [world.lesson_id], 15)
