"""What a page tells of its pictures is kept briefly under its seat, bounded, and nothing else becomes of it."""

from __future__ import annotations

from typing import Any

from signaling.hints import KEPT_MS, hints_of

SEEN = {"over_ms": 10_000, "slots": {"camera": {"frames": 240, "freezes": 1, "frozen_ms": 700, "height_px": 360}}}


async def test_a_hint_is_kept_under_the_seat_for_a_while(world: Any, node: Any, open_page: Any) -> None:
    page = await open_page(world, "l1", node)
    assert await page.refused("media.seen", **SEEN) == "wrong_state", (
        "before one sits there is no seat to keep it under"
    )
    await page.join(world.lesson_id)
    await page.ok("media.seen", **SEEN)
    redis, prefix = node.context.redis, node.context.prefix
    ((seat, _, _),) = node.live.namespace.sitting()
    hint = (await hints_of(redis, [seat.seat_id, "s_unknown"], prefix))[seat.seat_id]
    assert hint["over_ms"] == 10_000 and hint["at_ms"] > 0
    assert hint["slots"]["camera"] == {
        "frames": 240,
        "dropped": 0,
        "freezes": 1,
        "frozen_ms": 700,
        "concealed_ms": 0,
        "height_px": 360,
        "jitter_buffer_ms": 0,
    }
    assert 0 < await redis.pttl(f"{prefix}hint:{seat.seat_id}") <= KEPT_MS
    assert await hints_of(redis, [], prefix) == {}


async def test_a_hint_is_bounded(world: Any, node: Any, open_page: Any) -> None:
    page = await open_page(world, "l1", node)
    await page.join(world.lesson_id)
    assert await page.refused("media.seen", over_ms=10_000, slots={f"w{n}": {} for n in range(65)}) == "bad_payload"
    assert await page.refused("media.seen", over_ms=0, slots={}) == "bad_payload"
    assert await page.refused("media.seen", over_ms=1, slots={"camera": {"frames": -1}}) == "bad_payload"
    answers = [await page.call("media.seen", over_ms=1, slots={}) for _ in range(6)]
    assert "too_fast" in [answer.get("error", {}).get("code") for answer in answers]
