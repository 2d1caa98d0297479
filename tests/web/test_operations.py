"""The operators' page: who sees it, what it says of a running node, and what browsers tell is a hint and bounded."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

import classroom
from media.tokens import Act, mint
from signaling.context import epoch_ms
from web.api.operations import why_with

PASSWORD = "a-long-password"
NODE_PROGRAM = Path(__file__).parent.parent / "media" / "node_process.py"


@pytest.mark.parametrize("role", ["learner", "instructor", "proctor", "organiser"])
async def test_for_anyone_else_there_is_no_such_page(town: Any, role: str) -> None:
    login, _ = town.ours.people[role]
    refused = await town.ask(login, "GET", "/api/operations")
    absent = await town.ask(login, "GET", "/api/no-such-thing")
    assert refused.status_code == absent.status_code == 404
    assert await refused.get_data() == await absent.get_data()
    assert (await (await town.ask(login, "GET", "/api/me")).get_json())["operates"] is False


async def test_nobody_is_asked_to_sign_in(town: Any) -> None:
    assert (await town.ask(None, "GET", "/api/operations")).status_code == 401


@pytest.mark.parametrize(("kind", "role"), [("enterprise", "operator"), ("platform", "organiser")])
async def test_operators_see_it_empty_while_nothing_runs(town: Any, kind: str, role: str) -> None:
    organisation_id = await classroom.create_organisation(town.record, "运营方", kind)
    await classroom.create_person(town.record, f"op.{kind}", PASSWORD, "运维", {role}, organisation_id)
    response = await town.ask(f"op.{kind}", "GET", "/api/operations")
    assert response.status_code == 200
    assert await response.get_json() == {"nodes": [], "lessons": []}
    assert (await (await town.ask(f"op.{kind}", "GET", "/api/me")).get_json())["operates"] is True


@pytest.fixture
async def media_url(town: Any, free_port: Callable[[], int]) -> AsyncIterator[str]:
    """A media node of this town's own, in a process of its own."""
    url = f"http://127.0.0.1:{free_port()}"
    keys = town.settings.keys
    config = {
        "bind": [["127.0.0.1", free_port()]],
        "http_host": "127.0.0.1",
        "http_port": int(url.rsplit(":", 1)[1]),
        "public_url": url,
        "control_url": url,
        "redis_url": town.settings.redis,
        "token_secret": keys.media_token,
        "control_secret": keys.control,
    }
    process = await asyncio.create_subprocess_exec(sys.executable, str(NODE_PROGRAM), json.dumps(config))
    try:
        yield url
    finally:
        process.terminate()
        await process.wait()


async def eventually(check: Callable[[], Awaitable[Any]], seconds: float) -> Any:
    deadline_s = time.monotonic() + seconds
    while not (found := await check()):
        assert time.monotonic() < deadline_s, f"not within {seconds} s"
        await asyncio.sleep(0.1)
    return found


async def test_a_running_lesson_is_seen_with_names(town: Any, media_url: str) -> None:
    organisation_id = await classroom.create_organisation(town.record, "运营方", "platform")
    await classroom.create_person(town.record, "op.live", PASSWORD, "运维", {"operator"}, organisation_id)
    lesson_id, (_, person_id) = town.ours.lesson_id, town.ours.people["instructor"]
    token = mint(
        town.settings.keys.media_token,
        holder=person_id,
        seat="s_teacher",
        room=lesson_id,
        act=Act.PUBLISH,
        id=f"{lesson_id}.lecture",
        now_ms=epoch_ms(),
        lifetime_ms=60_000,
    )

    async def seen() -> dict[str, Any]:
        answer: dict[str, Any] = await (await town.ask("op.live", "GET", "/api/operations")).get_json()
        return answer

    async def has_node() -> bool:
        return len((await seen())["nodes"]) == 1

    await eventually(has_node, 40.0)
    pc = RTCPeerConnection()
    try:
        pc.addTrack(AudioStreamTrack())
        await pc.setLocalDescription(await pc.createOffer())
        async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
            answer = await client.post(
                f"{media_url}/whip/{lesson_id}.lecture",
                content=pc.localDescription.sdp,
                headers={"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"},
            )
        assert answer.status_code == 201, answer.text
        await pc.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))

        async def flowing() -> dict[str, Any] | None:
            (lesson,) = (await seen())["lessons"] or [None]
            return lesson if lesson and lesson["publications"][0]["encodings"][0]["packets"] > 5 else None

        lesson = await eventually(flowing, 20.0)
    finally:
        await pc.close()
    assert (lesson["lesson_id"], lesson["title"], lesson["organisation"]) == (lesson_id, "第一课", "甲矿")
    (publication,) = lesson["publications"]
    assert (publication["name"], publication["state"]) == ("甲矿instructor", "connected")
    assert publication["encodings"][0]["codec"] == "opus"
    (node,) = (await seen())["nodes"]
    assert (
        node["public_url"] == media_url
        and node["answers"]
        and node["memory_bytes"] > 0
        and node["counters"]["publications_begun"] == 1
    )


def test_what_a_browser_tells_is_added_to_the_reasons() -> None:
    calm = {"frames": 250, "dropped": 3, "freezes": 0}
    assert why_with(["best"], None) == why_with(["best"], calm) == ["best"]
    assert why_with(["best"], calm | {"freezes": 2}) == ["froze"]
    assert why_with(["loss_high"], calm | {"freezes": 2}) == ["froze", "loss_high"]
    assert why_with(["best"], calm | {"dropped": 100}) == ["device_slow"]
