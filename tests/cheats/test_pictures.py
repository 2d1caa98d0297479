"""Cheats with the camera: switched off between samples, somebody else's, on a seat that is over."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis

from media.errors import MediaError
from media.keys import MediaKeys
from media.node import Endings
from media.tokens import Act, Claims, mint, verify_untrusted
from signaling.flow_book import FlowBook, Sample

SLACK_MS = 20_000
NOW_MS = 1_800_000_000_000
SECRET = "s" * 32


def test_a_camera_that_comes_back_richer_than_it_left_was_off_meanwhile_R065() -> None:
    """Ten quiet seconds, five minutes of nothing, then a new publication whose first second is bigger than all of
    the old one: the counters alone look as if bytes had never stopped."""
    book = FlowBook(SLACK_MS)
    for second in range(10):
        book.sample(1000 * second, {"p_1": Sample(1000 + 50 * second, 0)})
    for second in range(10, 310):
        book.sample(1000 * second, {})
    for second in range(310, 320):
        book.sample(1000 * second, {"p_1": Sample(40_000 * (second - 309), 0)})
    stretches = book.take(400_000, 1)
    assert stretches and all(not (begin < 200_000 < end) for _, begin, end in stretches), stretches
    assert sum(end - begin for _, begin, end in stretches) <= 20_000


def test_a_camera_missed_by_one_sample_went_on_all_the_same_R063() -> None:
    """A node that did not answer once must not cost honest learners their stretch."""
    book = FlowBook(SLACK_MS)
    for second in range(30):
        seen = {} if second in (10, 11) else {"p_1": Sample(1000 * second + 1, 0)}
        book.sample(1000 * second, seen)
    assert book.take(100_000, 1) == [("p_1", 0, 29_000)]


def claims(seat: str = "s_1") -> Claims:
    return Claims("p_1", seat, "l_1", Act.PUBLISH, "l_1.learner.p_1", (), NOW_MS, NOW_MS + 60_000)


async def test_a_token_shown_while_its_seat_is_being_ended_is_refused_R060_R061(
    redis_url: str, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node has asked Redis, which did not know yet, and is told before the answer is there."""
    redis = Redis.from_url(redis_url)
    endings = Endings(redis, MediaKeys(redis_prefix))
    ask = redis.mget

    async def slow(keys: list[str]) -> list[object]:
        answer = await ask(keys)
        await asyncio.sleep(0.1)
        return list(answer)

    monkeypatch.setattr(redis, "mget", slow)
    asking = asyncio.create_task(endings.refuses(claims()))
    await asyncio.sleep(0.05)
    await endings.end_seat("s_1")
    assert await asking
    await redis.aclose()


@pytest.mark.parametrize(
    "change",
    [
        {"id": "l_1.learner.p_2"},
        {"id": "l_1.lecture"},
        {"act": "play"},
        {"seat": "s_2"},
        {"holder": "p_2"},
        {"room": "l_2"},
    ],
)
def test_no_claim_of_a_media_token_can_be_changed_R060_R061(change: dict[str, str]) -> None:
    """Neither another's publication, nor a later seat: only the platform's key makes a token."""
    import base64
    import json

    said = {"holder": "p_1", "seat": "s_1", "room": "l_1", "act": "publish", "id": "l_1.learner.p_1"}
    now_ms = time.time_ns() // 1_000_000
    head, body, mark = mint(SECRET, now_ms=now_ms, lifetime_ms=60_000, **said).split(".")
    assert verify_untrusted(f"{head}.{body}.{mark}", SECRET, now_ms).id == "l_1.learner.p_1"
    values = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))) | change
    forged = base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    other_key = mint("o" * 32, now_ms=now_ms, lifetime_ms=60_000, **(said | change))
    for token in (f"{head}.{forged}.{mark}", f"{none}.{forged}.", f"{none}.{forged}.{mark}", other_key):
        with pytest.raises(MediaError, match="bad_token"):
            verify_untrusted(token, SECRET, now_ms)


def test_a_media_token_is_dead_after_its_time_R061() -> None:
    token = mint(SECRET, holder="p_1", seat="s_1", room="l_1", act="publish", id="x", now_ms=NOW_MS, lifetime_ms=60_000)
    assert verify_untrusted(token, SECRET, NOW_MS + 59_000).seat == "s_1"
    with pytest.raises(MediaError, match="expired_token"):
        verify_untrusted(token, SECRET, NOW_MS + 60_001)
