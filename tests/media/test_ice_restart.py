"""An ICE restart in a real browser: new credentials by PATCH, the same session, the same keys, the picture goes on."""

from __future__ import annotations

from typing import Any

import pytest

from media.tokens import SlotClaim

ENOUGH_FRAMES = 10


@pytest.mark.browser
async def test_chromium_restarts_ice_as_publisher_and_as_viewer(
    media_node: Any, control: Any, name: str, chromium_page: Any, eventually: Any
) -> None:
    async with chromium_page(media_node) as page:
        whip, whep = f"{media_node.url}/whip/{name}", f"{media_node.url}/whep/{name}"
        slots = [SlotClaim("audio", "audio", name), SlotClaim("camera", "video", name)]
        publisher = await page.evaluate(
            "([url, token]) => publish(url, token)", [whip, media_node.token("publish", name)]
        )
        viewer = await page.evaluate(
            "([url, token]) => play(url, token, ['audio', 'video'])", [whep, media_node.token("play", name, slots)]
        )

        async def decoded(at_least: int) -> int:
            video = (await page.evaluate("index => stats(index)", viewer))["video"]
            frames = (video[0]["decoded"] or 0) if video else 0
            return frames if frames >= at_least else 0

        async def transports() -> dict[str, dict[str, Any]]:
            (snapshot,) = (await control.snapshot()).values()
            sessions = snapshot["sessions"]["publications"] + snapshot["sessions"]["subscriptions"]
            return {item["session_id"]: item["transport"] for item in sessions if item["id"] == name}

        seen = await eventually(lambda: decoded(1), 20, "the picture before")
        before = await transports()
        for index in (publisher, viewer):
            assert await page.evaluate("index => restart(index)", index), "the entity tag is a new one"

        async def moved() -> bool:
            # A new pair means new ports in Chromium: the node sends to where the new checks came from.
            after = await transports()
            assert after.keys() == before.keys(), "the sessions are the same"
            return all(after[key]["remote"] != before[key]["remote"] for key in before)

        await eventually(moved, 20, "both on their new pairs")
        for key, transport in (await transports()).items():
            assert (transport["state"], transport["ice_restarts"]) == ("connected", 1)
            assert transport["transport_id"] == before[key]["transport_id"]
        seen = await decoded(0)
        await eventually(lambda: decoded(seen + ENOUGH_FRAMES), 20, "the picture after")
        for index in (publisher, viewer):
            assert await page.evaluate("index => stop(index)", index) == 200
