"""One person, one seat, whichever nodes the windows are on (R-060, R-061)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from signaling.protocol import ErrorCode
from signaling.seats import EndNotice, Seats
from signaling.sentences import Refusal


class Media:
    """Remembers which seats were ended; can be away."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.away = 0

    async def end_seat(self, seat_id: str) -> None:
        if self.away:
            self.away -= 1
            raise ConnectionError("away")
        self.ended.append(seat_id)


@pytest.fixture
async def media() -> Media:
    return Media()


@pytest.fixture
async def seats(redis: Redis, redis_prefix: str, media: Media) -> AsyncIterator[Seats]:
    made = Seats(redis, media.end_seat, prefix=redis_prefix)
    yield made
    await made.stop()


async def _until(condition: object, within_s: float = 5.0) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():  # type: ignore[operator]
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def test_r060_a_second_window_takes_the_seat_and_ends_the_first(
    redis: Redis, redis_prefix: str, seats: Seats, media: Media
) -> None:
    other_node = Seats(redis, media.end_seat, prefix=redis_prefix)
    heard: list[EndNotice] = []

    async def hear(notice: EndNotice) -> None:
        heard.append(notice)

    listening = asyncio.create_task(other_node.listen(hear))
    await asyncio.sleep(0.1)  # the subscription
    first = await seats.take("p_1", "se_1", "window-one", "l_1")
    second = await seats.take("p_1", "se_1", "window-two", "l_1")
    assert first.seat_id != second.seat_id
    assert await seats.holder("p_1") == second
    await _until(lambda: heard and media.ended)
    assert heard == [EndNotice("second_window", "p_1", first.seat_id)]
    assert media.ended == [first.seat_id]
    assert await seats.lost([first, second]) == [(first, "second_window")]
    listening.cancel()


async def test_r060_the_same_window_keeps_its_seat(seats: Seats, media: Media) -> None:
    first = await seats.take("p_1", "se_1", "window-one", "l_1")
    assert await seats.take("p_1", "se_1", "window-one", "l_1") == first
    assert media.ended == []


async def test_r060_an_ended_window_cannot_throw_its_successor_out(seats: Seats) -> None:
    await seats.take("p_1", "se_1", "window-one", "l_1")
    second = await seats.take("p_1", "se_1", "window-two", "l_1")
    with pytest.raises(Refusal) as refused:
        await seats.take("p_1", "se_1", "window-one", "l_1")
    assert refused.value.code is ErrorCode.SEAT_TAKEN
    assert await seats.holder("p_1") == second


async def test_r060_windows_arriving_together_leave_one_seat(seats: Seats) -> None:
    taken = await asyncio.gather(*(seats.take("p_1", "se_1", f"window-{n:02}", "l_1") for n in range(12)))
    holder = await seats.holder("p_1")
    assert holder in taken
    assert len(await seats.lost(list(taken))) == 11


async def test_r061_a_newer_sign_in_ends_the_older_sessions_seat(seats: Seats, media: Media) -> None:
    seat = await seats.take("p_1", "se_old", "window-one", "l_1")
    await seats.end_session("p_1", "se_old", "second_sign_in")
    await _until(lambda: media.ended)
    assert media.ended == [seat.seat_id]
    assert await seats.holder("p_1") is None
    assert await seats.lost([seat]) == [(seat, "second_sign_in")], "a node that missed the notice still finds out"
    assert (await seats.take("p_1", "se_new", "window-two", "l_1")).session_id == "se_new"


async def test_ending_media_is_tried_until_the_nodes_are_back(seats: Seats, media: Media) -> None:
    media.away = 1
    first = await seats.take("p_1", "se_1", "window-one", "l_1")
    await seats.take("p_1", "se_1", "window-two", "l_1")
    await _until(lambda: media.ended)
    assert media.ended == [first.seat_id]


async def test_leaving_frees_the_seat_and_only_ones_own(seats: Seats, media: Media) -> None:
    first = await seats.take("p_1", "se_1", "window-one", "l_1")
    second = await seats.take("p_1", "se_1", "window-two", "l_1")
    await seats.leave(first)
    assert await seats.holder("p_1") == second
    await seats.leave(second)
    assert await seats.holder("p_1") is None


async def test_a_redis_that_came_back_empty_ends_nobody(redis: Redis, redis_prefix: str, seats: Seats) -> None:
    seat = await seats.take("p_1", "se_1", "window-one", "l_1")
    await redis.delete(*[key async for key in redis.scan_iter(f"{redis_prefix}*")])
    assert await seats.lost([seat]) == []
