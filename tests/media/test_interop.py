"""What single clients do beyond the table of `test_interop_table.py`: Chromium's simulcast and bandwidth feedback, and
key frames taken out of what Chromium and FFmpeg's whip muxer send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import av
import pytest

from media.frame import EncodedFrame
from media.tokens import SlotClaim

SECONDS = 40
ENOUGH_FRAMES = 15


def slots(source: str) -> list[SlotClaim]:
    return [SlotClaim("audio", "audio", source), SlotClaim("camera", "video", source)]


def assert_decodable(frame: EncodedFrame, codec: str) -> None:
    context = av.CodecContext.create(frame.codec, "r")
    pictures = [*context.decode(av.Packet(frame.data)), *context.decode(None)]
    assert frame.codec == codec and len(pictures) == 1
    assert pictures[0].to_ndarray(format="rgb24").std() > 5, "a picture, not a grey field"


async def chromium_sees(page: Any, node: Any, name: str, source: str, eventually: Callable[..., Any]) -> dict[str, Any]:
    """Plays `source` in Chromium until pictures advance twice and sound has energy; the last stats."""
    token = node.token("play", name, slots(source))
    url = f"{node.url}/whep/{name}"
    index = await page.evaluate("([url, token]) => play(url, token, ['audio', 'video'])", [url, token])

    async def decoded(at_least: int) -> Any:
        stats = await page.evaluate("index => stats(index)", index)
        video = stats["video"]
        return stats if video and (video[0]["decoded"] or 0) >= at_least else None

    first = await eventually(lambda: decoded(1), 15, f"{source} in Chromium")
    seen = first["video"][0]["decoded"]
    last = await eventually(lambda: decoded(seen + ENOUGH_FRAMES), 15, f"{source} advancing in Chromium")
    assert last["audio"][0]["packets"] > 0
    assert await page.evaluate("index => stop(index)", index) == 200
    return last


async def aiortc_sees(aiortc_play: Any, node: Any, name: str, source: str) -> None:
    viewer = await aiortc_play(node, name, slots(source))
    sound, picture = viewer.tracks
    numbers = [(await asyncio.wait_for(picture.recv(), 15)).pts for _ in range(ENOUGH_FRAMES)]
    assert len(set(numbers)) == ENOUGH_FRAMES
    assert (await asyncio.wait_for(sound.recv(), 15)).sample_rate == 48_000
    await viewer.pc.close()


@pytest.mark.browser
async def test_chromium_publishes(
    media_node: Any, control: Any, name: str, chromium_page: Any, aiortc_play: Any, eventually: Any
) -> None:
    async with chromium_page(media_node) as page:
        url, token = f"{media_node.url}/whip/{name}", media_node.token("publish", name)
        publisher = await page.evaluate("([url, token]) => publish(url, token)", [url, token])
        assert_decodable(await control.tap(name, 8000), "vp8")
        last = await chromium_sees(page, media_node, name + ".chromium", name, eventually)
        assert last["video"][0]["width"] == 320
        assert last["audio"][0]["energy"] > 0, "the fake microphone beeps"
        await aiortc_sees(aiortc_play, media_node, name + ".aiortc", name)
        (snapshot,) = (await control.snapshot()).values()
        assert snapshot["router"]["counters"]["transport_cc_out"] > 0, "what a browser's bandwidth estimate lives on"
        stats = await page.evaluate("index => stats(index)", publisher)
        assert stats["srtp"] == "SRTP_AEAD_AES_128_GCM"
        assert await page.evaluate("index => stop(index)", publisher) == 200


@pytest.mark.browser
async def test_chromium_publishes_simulcast(
    media_node: Any, control: Any, name: str, chromium_page: Any, eventually: Any
) -> None:
    async with chromium_page(media_node) as page:
        url, token = f"{media_node.url}/whip/{name}", media_node.token("publish", name)
        options = {"simulcast": True, "width": 640, "height": 480}
        await page.evaluate("([url, token, options]) => publish(url, token, options)", [url, token, options])
        await chromium_sees(page, media_node, name + ".chromium", name, eventually)

        async def rids() -> bool:
            flows = {flow.rid: flow.packets for flow in await control.flows() if flow.publication_id == name}
            return flows.get("l", 0) > 10 and flows.get("h", 0) > 10

        await eventually(rids, 10, "both layers")


async def test_whip_encoder_publishes(
    media_node: Any, control: Any, name: str, whip_encoder: Any, eventually: Any
) -> None:
    url, token = f"{media_node.url}/whip/{name}", media_node.token("publish", name)
    encoder = whip_encoder(url, token, SECONDS)

    async def flowing() -> bool:
        assert encoder.poll() is None, encoder.communicate()[0]
        return any(flow.publication_id == name and flow.packets > 20 for flow in await control.flows())

    await eventually(flowing, 15, "the encoder's packets")
    # It understands no PLI, so the tap waits for its next regular intra frame: one a second.
    assert_decodable(await control.tap(name, 8000), "h264")
    encoder.terminate()
