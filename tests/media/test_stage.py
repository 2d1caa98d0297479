"""Sound on the stage: who speaks, told by the node from packets' levels; one word that turns a whole room's slots."""

from __future__ import annotations

import time
from typing import Any

import pytest

from media.errors import MediaError
from media.keys import MediaKeys
from media.room import TOKEN_SLACK_MS, Rooms, RoomSource
from media.tokens import SlotClaim

# One m-line: aiortc overlooks our candidates when a second m-line of the same kind follows.
VOICES = [SlotClaim("voice0", "audio")]


async def speaking(redis: Any, prefix: str, name: str) -> list[str]:
    """What the node told of this publication's sound, oldest first."""
    entries = await redis.xrange(MediaKeys(prefix).events)
    mine = [fields for _, fields in entries if fields[b"type"] == b"speaking" and fields[b"id"] == name.encode()]
    return [fields[b"reason"].decode() for fields in mine]


async def test_the_node_tells_when_a_publisher_speaks_and_stops(
    media_node: Any, media_redis: Any, control: Any, name: str, voice: Any, aiortc_publish: Any, eventually: Any
) -> None:
    async def told(*expected: str) -> bool:
        return await speaking(media_redis, media_node.prefix, name) == list(expected)

    async def sound_flows() -> bool:
        return any(flow.packets > 20 for flow in await control.flows() if flow.publication_id == name)

    await aiortc_publish(media_node, name, rgb=None, audio=voice)
    await eventually(sound_flows)
    assert await told()
    voice.talking = True
    await eventually(lambda: told("began"))
    (snapshot,) = (await control.snapshot()).values()
    assert any((flow["level_dbov"] or -127) > -40 for flow in snapshot["router"]["ingests"])
    voice.talking = False
    await eventually(lambda: told("began", "stopped"))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_a_room_hears_a_guest_at_one_word_whoever_comes_later_too(
    media_node: Any, control: Any, name: str, voice: Any, aiortc_publish: Any, aiortc_play: Any, eventually: Any
) -> None:
    room, guest = f"l_{name}", f"p_{name}"
    voice.talking = True
    await aiortc_publish(media_node, name, rgb=None, audio=voice, room=room, holder=guest)

    async def play(holder: str, in_room: str = room, **claims: Any) -> Any:
        view = f"{name}.{holder}.{in_room}"
        return await aiortc_play(media_node, view, VOICES, ("audio",), room=in_room, holder=holder, **claims)

    async def voice_packets(peer: Any) -> int:
        received = (await peer.pc.getTransceivers()[0].receiver.getStats()).values()
        return sum(item.packetsReceived for item in received if item.type == "inbound-rtp")

    before_ms = now_ms()
    present, elsewhere = await play("p_present"), await play("p_other", f"x{room}")
    assert await control.show_room(room, {"voice0": RoomSource(name, except_holder=guest)}, now_ms()) == 1
    late, own = await play("p_late", now_ms=before_ms), await play(guest, now_ms=before_ms)
    await eventually(lambda: _all(voice_packets, 20, present, late))
    assert await voice_packets(own) == await voice_packets(elsewhere) == 0
    # A word that was overtaken on its way changes nothing; the newest one does.
    assert await control.show_room(room, {"voice0": RoomSource(None)}, before_ms) == 0
    assert await control.show_room(room, {"voice0": RoomSource(None)}, now_ms()) == 3
    (snapshot,) = (await control.snapshot()).values()
    shown = [item["slots"]["voice0"] for item in snapshot["sessions"]["subscriptions"] if item["room"] == room]
    assert [item["source"] for item in shown] == [None] * 3 and not any(item["routed"] for item in shown)
    # A token made after that knows better.
    fresh = await aiortc_play(
        media_node,
        f"{name}.fresh",
        [SlotClaim("voice0", "audio", name)],
        ("audio",),
        room=room,
        now_ms=now_ms() + 2 * TOKEN_SLACK_MS,
    )
    await eventually(lambda: _all(voice_packets, 20, fresh))


async def _all(measure: Any, least: int, *peers: Any) -> bool:
    return all([await measure(peer) >= least for peer in peers])


async def test_an_ended_publication_is_gone_and_its_token_with_it(
    media_node: Any, control: Any, name: str, voice: Any, aiortc_publish: Any, eventually: Any
) -> None:
    made_ms = now_ms()
    await aiortc_publish(media_node, name, rgb=None, audio=voice, now_ms=made_ms)
    assert await control.end_publication(name, made_ms) == 1
    assert not [flow for flow in await control.flows() if flow.publication_id == name]
    with pytest.raises(AssertionError, match="seat_ended"):
        await aiortc_publish(media_node, name, rgb=None, now_ms=made_ms)
    await aiortc_publish(media_node, name, rgb=None, now_ms=made_ms + 1)
    assert await control.end_publication(name, made_ms) == 0, "made after the end"


@pytest.mark.parametrize("slots", [{"voice0": "x"}, {"voice0": {"publication_id": "bad name"}}, {"": {}}])
async def test_a_malformed_room_word_is_refused(control: Any, slots: Any) -> None:
    (node,) = await control.nodes()
    with pytest.raises(MediaError, match="bad_request"):
        await control._ask(node, "POST", "room", {"room": "l", "slots": slots, "at_ms": 1})


def test_rooms_remember_the_newest_word_of_each_slot() -> None:
    rooms = Rooms()
    one, two = RoomSource("one"), RoomSource("two", "p_two")
    assert set(rooms.tell("l", {"voice0": one, "voice1": one}, 5)) == {"voice0", "voice1"}
    assert set(rooms.tell("l", {"voice0": two}, 4)) == set()
    assert set(rooms.tell("l", {"voice0": two, "guest": two}, 5)) == {"voice0", "guest"}
    assert {name: route.source for name, route in rooms.routes("l", ("voice0", "voice1", "absent")).items()} == {
        "voice0": two,
        "voice1": one,
    }
    assert (two.for_holder("p_two"), two.for_holder("p_x")) == (None, "two")
