"""A verdict that is late: asked for again, then let go for a new look; what comes after all still counts."""

from __future__ import annotations

import time
from typing import Any

import pytest

import classroom
from signaling import looks as looks_module
from signaling.face_checks import Asked, State
from signaling.looks import MAX_SENDINGS, Looks
from signaling.plan_execution import Watch


@pytest.fixture
async def conducted(world: Any, node: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A live lesson whose learner l1 may be looked at, this node's parts, and no worker anywhere."""
    monkeypatch.setattr(looks_module, "VERDICT_PATIENCE_MS", 100)
    await node.live._loops.stop()
    person_id = world.people["l1"]
    await classroom.give_consent(world.record, person_id, "face", "v1")
    await classroom.record_template(world.record, person_id, "t_1", "dlib", 3)
    await classroom.connected(world.record, world.lesson_id, person_id, "s_1", time.time_ns() // 1_000_000)
    await classroom.start_lesson(world.record, world.lesson_id, world.people["teacher"])
    watch = Watch(person_id, may_be_looked_at=True, publishing=True, next_look=10_000, look_now=False)
    plan = await classroom.plan_of(world.record, world.lesson_id)
    return Looks(node.context, plan, 1, node.live.face_checks, {person_id: watch}), watch, node


async def _sent(world: Any, node: Any, watch: Watch) -> Asked:
    now_ms = time.time_ns() // 1_000_000
    check_id = await classroom.open_face_check(world.record, world.lesson_id, watch.person_id, None, 0, now_ms)
    await classroom.frame_taken(world.record, check_id, "ab" * 32, 1, 2, now_ms)
    asked = Asked(world.lesson_id, watch.person_id, check_id=check_id, template_key="t_1")
    await node.live.face_checks.send(asked)
    watch.asked = asked
    return asked


async def test_a_late_verdict_is_asked_for_again_then_let_go_and_still_taken(world: Any, conducted: Any) -> None:
    looks, watch, node = conducted
    asked = await _sent(world, node, watch)
    assert asked.state is State.SENT and asked.sendings == 1
    now_ms = asked.sent_at_ms
    patience_ms = 2 * (await classroom.plan_of(world.record, world.lesson_id)).profile.ms("relook_s") + 100
    while watch.asked is not None:
        now_ms += patience_ms
        await looks.attend(now_ms, new_ones=False)
        now_ms = max(now_ms, asked.sent_at_ms)
        assert asked.sendings <= MAX_SENDINGS
    assert asked.sendings == MAX_SENDINGS
    assert asked.check_id is not None
    queued = await node.context.redis.llen(f"{node.context.prefix}jobs")
    assert queued == MAX_SENDINGS
    await node.context.redis.delete(f"{node.context.prefix}jobs")
    # The worker is back: the verdict on the frame of then is written, and the learner is not blamed for the wait.
    assert await classroom.record_face_check(world.record, asked.check_id, {"outcome": "MATCH"})
    looks.verdict(asked.check_id, watch.person_id, "MATCH")
    assert watch.failures == 0


async def test_a_verdict_whose_announcement_was_lost_is_found_in_the_record(world: Any, conducted: Any) -> None:
    looks, watch, node = conducted
    asked = await _sent(world, node, watch)
    await classroom.record_face_check(world.record, asked.check_id, {"outcome": "NO_FACE"})
    await looks.attend(asked.sent_at_ms + 60_000, new_ones=False)
    assert watch.asked is None and watch.failures == 1 and asked.sendings == 1
    await node.context.redis.delete(f"{node.context.prefix}jobs")


async def test_a_successor_takes_up_what_was_opened(world: Any, conducted: Any) -> None:
    looks, watch, node = conducted
    asked = await _sent(world, node, watch)
    watch.asked = None
    await looks.resume()
    assert watch.asked is not None and watch.asked.check_id == asked.check_id
    assert watch.looked_before == {0}
    await classroom.record_face_check(world.record, asked.check_id, {"outcome": "MISMATCH"})
    watch.asked = None
    await looks.resume()
    assert watch.asked is None and watch.failures == 1
    await node.context.redis.delete(f"{node.context.prefix}jobs")
