"""Two nodes on one machine: what viewers of one see of a publication on the other, and what crosses between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from media.control import MediaControl
from media.tokens import SlotClaim

from .conftest import CONTROL_SECRET, NodeHandle, Peer

Eventually = Callable[..., Awaitable[Any]]
SLOTS = ["audio", "camera"]


def lecture_slots(name: str) -> list[SlotClaim]:
    return [SlotClaim("audio", "audio", name), SlotClaim("camera", "video", name)]


@pytest.fixture(scope="module")
def nodes(start_node: Callable[..., NodeHandle]) -> list[NodeHandle]:
    first = start_node(node_id="m_a")
    return [first, start_node(node_id="m_b", redis_prefix=first.prefix)]


@pytest.fixture
async def both(nodes: list[NodeHandle], media_redis: Redis) -> AsyncIterator[MediaControl]:
    client = MediaControl(media_redis, CONTROL_SECRET, prefix=nodes[0].prefix)
    yield client
    await client.close()


async def snapshot(node: NodeHandle, http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.get(f"{node.url}/control/snapshot", headers={"Authorization": f"Bearer {CONTROL_SECRET}"})
    answer.raise_for_status()
    return dict(answer.json())


async def picture(peer: Peer, rgb: tuple[int, int, int], seconds: float = 20.0) -> None:
    """Waits for frames of that colour."""
    async with asyncio.timeout(seconds):
        while True:
            frame = await peer.tracks[1].recv()
            shown = frame.to_ndarray(format="rgb24")[10:60, 10:60].reshape(-1, 3).mean(axis=0)  # type: ignore[union-attr]
            if all(abs(float(seen) - wanted) < 60 for seen, wanted in zip(shown, rgb, strict=True)):
                return


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["lower to higher", "higher to lower"])
async def test_viewers_elsewhere_are_served_from_one_copy(
    order: tuple[int, int],
    nodes: list[NodeHandle],
    both: MediaControl,
    name: str,
    http: httpx.AsyncClient,
    aiortc_publish: Callable[..., Awaitable[Peer]],
    aiortc_play: Callable[..., Awaitable[Peer]],
    eventually: Eventually,
) -> None:
    home, away = (nodes[at] for at in order)
    viewers = [await aiortc_play(away, f"{name}v{at}", lecture_slots(name)) for at in range(3)]
    await aiortc_publish(home, name, rgb=(200, 30, 30))
    await asyncio.gather(*(picture(viewer, (200, 30, 30)) for viewer in viewers))

    given = [item for item in (await snapshot(home, http))["trunks"]["given"] if item["publication_id"] == name]
    assert sorted(item["kind"] for item in given) == ["audio", "video"], "each stream once, whatever the viewers"
    slots = {slot["slot_id"]: slot for slot in (await snapshot(home, http))["router"]["slots"]}
    sent = {item["kind"]: slots[item["slot_id"]] for item in given}
    assert all(slot["packets"] > 0 for slot in sent.values())
    taken = await snapshot(away, http)
    ingests = {flow["ssrc"]: flow for flow in taken["router"]["ingests"]}
    for item in given:
        assert ingests[item["ssrc"]]["packets"] <= slots[item["slot_id"]]["packets"] + 200
    assert [flow.node_id for flow in await both.flows() if flow.publication_id == name] == [
        "m_a" if home is nodes[0] else "m_b"
    ] * 2, "a copy is no publication"
    frame = await both.tap(name)
    assert frame.codec == "vp8" and frame.data

    for viewer in viewers:
        await viewer.pc.close()
        await http.delete(viewer.location, headers={"Authorization": f"Bearer {viewer.token}"})

    async def given_back() -> bool:
        return name not in {item["publication_id"] for item in (await snapshot(home, http))["trunks"]["given"]}

    await eventually(given_back, 20, "the trunk is dropped with its last viewer")


async def test_a_publisher_that_moves_is_followed(
    nodes: list[NodeHandle],
    both: MediaControl,
    name: str,
    aiortc_publish: Callable[..., Awaitable[Peer]],
    aiortc_play: Callable[..., Awaitable[Peer]],
    eventually: Eventually,
) -> None:
    home, away = nodes
    here = await aiortc_play(home, f"{name}h", lecture_slots(name))
    there = await aiortc_play(away, f"{name}t", lecture_slots(name))
    await aiortc_publish(home, name, rgb=(200, 30, 30))
    await asyncio.gather(picture(here, (200, 30, 30)), picture(there, (200, 30, 30)))
    await aiortc_publish(away, name, rgb=(30, 30, 200))
    await asyncio.gather(picture(here, (30, 30, 200)), picture(there, (30, 30, 200)))

    async def only_there() -> bool:
        return {flow.node_id for flow in await both.flows() if flow.publication_id == name} == {"m_b"}

    await eventually(only_there, 20, "the older one is ended")
