"""Sound on the stage: who speaks, told by the node from packets' levels."""

from __future__ import annotations

from typing import Any

from media.keys import MediaKeys


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
