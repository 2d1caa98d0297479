"""One aiortc peer publishes, another plays, through a node of its own process: pictures, routes, taps, endings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import av
import numpy as np
import pytest

from media.errors import MediaError
from media.frame import EncodedFrame
from media.tokens import SlotClaim

RED, GREEN, BLUE = (200, 30, 30), (30, 160, 30), (30, 30, 200)
FRAME_TIMEOUT_S = 8.0


def colour_of(image: np.ndarray) -> str:
    """Which of the three test colours the picture's upper left corner has."""
    mean = image[10:80, 10:80].mean(axis=(0, 1))
    return min(("red", RED), ("green", GREEN), ("blue", BLUE), key=lambda item: float(np.abs(mean - item[1]).sum()))[0]


async def next_colour(track: Any) -> str:
    frame = await asyncio.wait_for(track.recv(), FRAME_TIMEOUT_S)
    return colour_of(frame.to_ndarray(format="rgb24"))


async def until_colour(track: Any, colour: str, frames: int = 200) -> None:
    """Reads on until the wanted colour is shown; anything broken in between would fail to decode or stall."""
    for _ in range(frames):
        if await next_colour(track) == colour:
            return
    raise AssertionError(f"never {colour}")


def decode(frame: EncodedFrame) -> np.ndarray:
    context = av.CodecContext.create(frame.codec, "r")
    (picture,) = [*context.decode(av.Packet(frame.data)), *context.decode(None)]
    return picture.to_ndarray(format="rgb24")


def slots(source: str | None) -> list[SlotClaim]:
    return [SlotClaim("audio", "audio", source), SlotClaim("camera", "video", source)]


async def test_picture_and_sound_arrive(
    media_node: Any, control: Any, name: str, aiortc_publish: Any, aiortc_play: Any, eventually: Any
) -> None:
    await aiortc_publish(media_node, name, RED, holder=f"p_{name}")
    viewer = await aiortc_play(media_node, name + ".view", slots(name))
    sound, picture = viewer.tracks
    assert await next_colour(picture) == "red"
    for _ in range(20):
        assert await next_colour(picture) == "red"
    frame = await asyncio.wait_for(sound.recv(), FRAME_TIMEOUT_S)
    assert frame.sample_rate == 48_000

    flows = {flow.kind: flow for flow in await control.flows() if flow.publication_id == name}
    assert flows["video"].packets > 20 and flows["audio"].packets > 20
    assert flows["video"].payload_bytes > flows["video"].packets * 20
    assert flows["video"].holder == f"p_{name}"
    age_ms = flows["video"].last_packet_age_ms
    assert age_ms is not None and age_ms < 1000


async def test_srtp_is_gcm_where_we_are_the_server(
    media_node: Any, control: Any, name: str, aiortc_publish: Any, eventually: Any
) -> None:
    await aiortc_publish(media_node, name)

    async def profile() -> str | None:
        (snapshot,) = (await control.snapshot()).values()
        (mine,) = [item for item in snapshot["sessions"]["publications"] if item["id"] == name]
        return mine["transport"]["profile"]

    assert await eventually(profile) == "AEAD_AES_128_GCM"


async def test_tap_takes_a_decodable_frame_on_demand(
    media_node: Any, control: Any, name: str, aiortc_publish: Any, eventually: Any
) -> None:
    await aiortc_publish(media_node, name, GREEN)
    for _ in range(3):
        frame = await control.tap(name, 3000)
        assert frame.codec == "vp8" and frame.node_id
        image = decode(frame)
        assert image.shape == (240, 320, 3) and colour_of(image) == "green"


async def test_tap_says_why_not(media_node: Any, control: Any, name: str, aiortc_play: Any) -> None:
    with pytest.raises(MediaError, match="no_publication"):
        await control.tap(name)


async def test_many_taps_at_once_share_the_frames(
    media_node: Any, control: Any, name: str, aiortc_publish: Any
) -> None:
    await aiortc_publish(media_node, name, BLUE)
    await control.tap(name, 3000)
    frames = await asyncio.gather(*(control.tap(name, 3000) for _ in range(8)))
    assert {colour_of(decode(frame)) for frame in frames} == {"blue"}


async def test_a_source_may_come_later_go_and_return(
    media_node: Any, control: Any, name: str, aiortc_publish: Any, aiortc_play: Any
) -> None:
    viewer = await aiortc_play(media_node, name + ".view", slots(name))
    publisher = await aiortc_publish(media_node, name, RED)
    await until_colour(viewer.tracks[1], "red")
    await publisher.pc.close()
    await aiortc_publish(media_node, name, BLUE)
    await until_colour(viewer.tracks[1], "blue")


async def test_publishing_again_replaces(
    media_node: Any, control: Any, name: str, aiortc_publish: Any, aiortc_play: Any, eventually: Any
) -> None:
    first = await aiortc_publish(media_node, name, RED)
    viewer = await aiortc_play(media_node, name + ".view", slots(name))
    await until_colour(viewer.tracks[1], "red")
    await aiortc_publish(media_node, name, GREEN)
    await until_colour(viewer.tracks[1], "green")
    await eventually(lambda: first.pc.connectionState == "closed")


async def test_slots_change_without_negotiation(
    media_node: Any, control: Any, name: str, aiortc_publish: Any, aiortc_play: Any
) -> None:
    await aiortc_publish(media_node, name + ".a", RED)
    await aiortc_publish(media_node, name + ".b", BLUE)
    viewer = await aiortc_play(media_node, name, slots(name + ".a"))
    picture = viewer.tracks[1]
    await until_colour(picture, "red")
    for source, colour in ((".b", "blue"), (".a", "red"), (".b", "blue")):
        shown = await control.show(name, {"camera": name + source})
        assert shown["camera"]["source"] == name + source and shown["camera"]["routed"]
        await until_colour(picture, colour)
    await control.show(name, {}, {"camera": 160})
    slots_told = [item for node in (await control.snapshot()).values() for item in node["sessions"]["subscriptions"]]
    told = next(item for item in slots_told if item["id"] == name)
    assert told["slots"]["camera"]["height_px"] == 160 and told["slots"]["camera"]["routed"]
    with pytest.raises(MediaError, match="bad_request"):
        await control.show(name, {}, {"camera": 0})
    shown = await control.show(name, {"camera": None})
    assert shown["camera"] == {"source": None, "mid": "1", "routed": False, "height_px": 160}
    with pytest.raises(MediaError, match="no_slot"):
        await control.show(name, {"nowhere": None})
    with pytest.raises(MediaError, match="no_subscription"):
        await control.show(name + ".nobody", {})


async def test_r_061_ending_a_seat_reaches_its_peers_within_5_s(
    media_node: Any,
    control: Any,
    name: str,
    media_redis: Any,
    aiortc_publish: Any,
    aiortc_play: Any,
    eventually: Callable[..., Awaitable[Any]],
) -> None:
    seat = f"s_{name}"
    publisher = await aiortc_publish(media_node, name, RED, seat=seat)
    viewer = await aiortc_play(media_node, name + ".view", slots(name), seat=seat)
    await next_colour(viewer.tracks[1])
    assert await control.end_seat(seat) == 2
    await eventually(lambda: publisher.pc.connectionState == "closed", 5)
    await eventually(lambda: viewer.pc.connectionState == "closed", 5)

    async def story() -> list[tuple[str, str, str]]:
        told = [
            {key.decode(): value.decode() for key, value in fields.items()}
            for _, fields in await media_redis.xrange(f"{media_node.prefix}media:events")
        ]
        return [(item["type"], item["id"], item["reason"]) for item in told if item["seat"] == seat]

    async def complete() -> bool:
        return len(await story()) >= 4

    await eventually(complete)
    assert sorted(await story()) == [
        ("publication_ended", name, "seat_ended"),
        ("publication_started", name, ""),
        ("subscription_ended", name + ".view", "seat_ended"),
        ("subscription_started", name + ".view", ""),
    ]


async def test_a_peer_that_leaves_is_noticed_at_once(
    media_node: Any, control: Any, name: str, aiortc_publish: Any, eventually: Any
) -> None:
    publisher = await aiortc_publish(media_node, name)
    await control.tap(name, 3000)
    await publisher.pc.close()

    async def gone() -> bool:
        return all(flow.publication_id != name for flow in await control.flows())

    await eventually(gone, 3)


async def test_a_viewer_that_comes_back_sees_the_later_word(
    media_node: Any, control: Any, name: str, aiortc_play: Any
) -> None:
    """Its old token knows nothing of a later `show`; a newer token does."""
    then_ms = time.time_ns() // 1_000_000 - 5000
    await aiortc_play(media_node, name, slots(name + ".a"), now_ms=then_ms)
    await control.show(name, {"camera": name + ".b"})
    await aiortc_play(media_node, name, slots(name + ".a"), now_ms=then_ms)
    assert (await control.show(name, {}))["camera"]["source"] == name + ".b"
    await aiortc_play(media_node, name, slots(name + ".c"), now_ms=time.time_ns() // 1_000_000 + 1)
    assert (await control.show(name, {}))["camera"]["source"] == name + ".c"


async def test_ipv6_alone_is_enough(
    start_node: Callable[..., Any],
    free_port: Callable[[], int],
    http: Any,
    name: str,
    aiortc_publish: Any,
    eventually: Callable[..., Awaitable[Any]],
) -> None:
    node = start_node(bind=[["::1", free_port()]])
    publisher = await aiortc_publish(node, name)
    assert " ::1 " in publisher.answer and " 127.0.0.1 " not in publisher.answer.split("a=candidate", 1)[1]
    await eventually(lambda: publisher.pc.connectionState == "connected")

    async def flowing() -> bool:
        response = await http.get(f"{node.url}/control/flows", headers={"Authorization": "Bearer " + "c" * 32})
        return any(flow["kind"] == "video" and flow["packets"] > 20 for flow in response.json()["flows"])

    await eventually(flowing)


@pytest.mark.slow
async def test_a_peer_that_falls_silent_loses_its_session_rfc_7675(
    media_node: Any, name: str, media_redis: Any, aiortc_publish: Any, eventually: Callable[..., Awaitable[Any]]
) -> None:
    """Consent expires 30 s after the last check: a browser that was killed cannot say goodbye."""
    publisher = await aiortc_publish(media_node, name)
    await eventually(lambda: publisher.pc.connectionState == "connected")
    for transceiver in publisher.pc.getTransceivers():
        # The sockets go without a word: no DTLS alert, no BYE, no further consent checks.
        for protocol in transceiver.sender.transport.transport._connection._protocols:
            protocol.transport.abort()

    async def ended() -> bool:
        events = [fields for _, fields in await media_redis.xrange(f"{media_node.prefix}media:events")]
        mine = [item for item in events if item[b"id"] == name.encode()]
        return [(item[b"type"], item[b"reason"]) for item in mine][1:] == [(b"publication_ended", b"consent_expired")]

    await eventually(ended, 40)


@pytest.mark.parametrize("kinds", [("audio", "video", "audio"), ("video", "audio", "video", "audio")])
async def test_a_viewer_with_several_slots_of_the_first_kind_connects(
    media_node: Any, name: str, aiortc_play: Any, eventually: Any, kinds: tuple[str, ...]
) -> None:
    slots = [SlotClaim(f"s{number}", kind) for number, kind in enumerate(kinds)]
    peer = await aiortc_play(media_node, f"{name}.v", slots, kinds)
    await eventually(lambda: peer.pc.connectionState == "connected", 15)
