"""A real media node in a process of its own, and the clients that talk to it: aiortc, Chromium, FFmpeg's whip muxer."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamTrack
from av import AudioFrame, VideoFrame
from redis.asyncio import Redis

from media.control import MediaControl
from media.tokens import Act, SlotClaim, mint

HERE = Path(__file__).parent
TOKEN_SECRET = "t" * 32
CONTROL_SECRET = "c" * 32
LIFETIME_MS = 60_000
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
]


@dataclass
class NodeHandle:
    """A media node of these tests: its process and how to reach it."""

    process: subprocess.Popen[bytes]
    url: str
    udp_port: int
    redis_url: str
    prefix: str
    log: Path

    def token(self, act: str, name: str, slots: list[SlotClaim] | None = None, **changes: Any) -> str:
        settings: dict[str, Any] = {
            "holder": "p_test",
            "seat": "s_test",
            "room": "l_test",
            "now_ms": time.time_ns() // 1_000_000,
            "lifetime_ms": LIFETIME_MS,
        }
        return mint(TOKEN_SECRET, act=Act(act), id=name, slots=slots or [], **(settings | changes))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=10)


@pytest.fixture(scope="session")
def start_node(
    redis_url: str, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., NodeHandle]]:
    """Starts a media node; keyword arguments are fields of MediaNodeConfig."""
    handles: list[NodeHandle] = []

    def start(**changes: Any) -> NodeHandle:
        http_port, udp_port = free_port(), free_port()
        url = f"http://127.0.0.1:{http_port}"
        prefix = f"t{secrets.token_hex(6)}:"
        config = {
            "bind": [["127.0.0.1", udp_port]],
            "http_host": "127.0.0.1",
            "http_port": http_port,
            "public_url": url,
            "control_url": url,
            "redis_url": redis_url,
            "redis_prefix": prefix,
            "token_secret": TOKEN_SECRET,
            "control_secret": CONTROL_SECRET,
        } | changes
        log = tmp_path_factory.mktemp("node") / "node.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "node_process.py"), json.dumps(config)], stdout=output, stderr=output
            )
        handle = NodeHandle(process, url, udp_port, config["redis_url"], config["redis_prefix"], log)
        handles.append(handle)
        deadline_s = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{url}/healthz", timeout=1, trust_env=False).is_success:
                    return handle
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise RuntimeError(f"the media node did not start:\n{log.read_text()}") from None
            time.sleep(0.05)

    yield start
    for handle in handles:
        if handle.process.poll() is None:
            handle.process.terminate()
            handle.process.wait(timeout=10)


@pytest.fixture(scope="session")
def media_node(start_node: Callable[..., NodeHandle]) -> NodeHandle:
    """The node that most tests share; ids in it are each test's own."""
    return start_node(ice_servers=[{"url": "stun:stun.example.org:3478"}])


@pytest.fixture
def name() -> str:
    """A publication or subscription id of this test's own."""
    return f"x{secrets.token_hex(5)}"


@pytest.fixture
async def media_redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = Redis.from_url(redis_url)
    yield redis
    await redis.aclose()


@pytest.fixture
async def control(media_node: NodeHandle, media_redis: Redis) -> AsyncIterator[MediaControl]:
    client = MediaControl(media_redis, CONTROL_SECRET, prefix=media_node.prefix)
    yield client
    await client.close()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        yield client


class ColourTrack(MediaStreamTrack):
    """A moving bar over one colour, 320x240 at 15 frames a second: what is shown can be told from any other."""

    kind = "video"

    def __init__(self, rgb: tuple[int, int, int]) -> None:
        super().__init__()
        self._image = np.full((240, 320, 3), rgb, np.uint8)
        self._number = 0
        self._started_s = time.monotonic()

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(max(0.0, self._started_s + self._number / 15 - time.monotonic()))
        image = self._image.copy()
        left = self._number * 4 % 300
        image[100:120, left : left + 20] = 255
        frame = VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = self._number * 6000, Fraction(1, 90_000)
        self._number += 1
        return frame


class VoiceTrack(MediaStreamTrack):
    """Noise in syllables while `talking`, digital silence otherwise; 48 kHz, 20 ms a frame."""

    kind = "audio"

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self.talking = False
        self._noise = np.random.default_rng(seed)
        self._number = 0
        self._started_s = time.monotonic()

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(max(0.0, self._started_s + self._number * 0.02 - time.monotonic()))
        samples = np.zeros((1, 960), np.int16)
        if self.talking and self._number % 13 < 9:
            samples[:] = self._noise.normal(0, 4000, (1, 960)).clip(-30_000, 30_000)
        frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._number * 960, Fraction(1, 48_000)
        self._number += 1
        return frame


@pytest.fixture
def voice() -> VoiceTrack:
    """A microphone that is silent until `talking` is set."""
    return VoiceTrack()


@dataclass
class Peer:
    """One aiortc session and how to end it."""

    pc: RTCPeerConnection
    location: str
    token: str
    answer: str
    tracks: list[MediaStreamTrack] = field(default_factory=list)


async def _exchange(pc: RTCPeerConnection, url: str, token: str) -> tuple[str, str]:
    await pc.setLocalDescription(await pc.createOffer())
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        response = await client.post(
            url,
            content=pc.localDescription.sdp,
            headers={"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"},
        )
    assert response.status_code == 201, response.text
    await pc.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
    return response.headers["Location"], response.text


@pytest.fixture
async def aiortc_publish() -> AsyncIterator[Callable[..., Awaitable[Peer]]]:
    """`await aiortc_publish(node, name, rgb=…, audio=…, **token claims)` → Peer; `rgb=None` publishes no picture."""
    peers: list[Peer] = []

    async def publish(
        node: NodeHandle,
        name: str,
        rgb: tuple[int, int, int] | None = (200, 30, 30),
        audio: bool | MediaStreamTrack = True,
        **claims: Any,
    ) -> Peer:
        pc = RTCPeerConnection()
        if audio:
            pc.addTrack(AudioStreamTrack() if audio is True else audio)
        if rgb is not None:
            pc.addTrack(ColourTrack(rgb))
        token = node.token("publish", name, **claims)
        location, answer = await _exchange(pc, f"{node.url}/whip/{name}", token)
        peers.append(Peer(pc, location, token, answer))
        return peers[-1]

    yield publish
    await asyncio.gather(*(peer.pc.close() for peer in peers))


@pytest.fixture
async def aiortc_play() -> AsyncIterator[Callable[..., Awaitable[Peer]]]:
    """`await aiortc_play(node, name, slots, kinds)` → Peer, whose tracks are in the order of `kinds`."""
    peers: list[Peer] = []

    async def play(
        node: NodeHandle, name: str, slots: list[SlotClaim], kinds: tuple[str, ...] = ("audio", "video"), **claims: Any
    ) -> Peer:
        pc = RTCPeerConnection()
        transceivers = [pc.addTransceiver(kind, direction="recvonly") for kind in kinds]
        token = node.token("play", name, slots, **claims)
        location, answer = await _exchange(pc, f"{node.url}/whep/{name}", token)
        peers.append(Peer(pc, location, token, answer, [item.receiver.track for item in transceivers]))
        return peers[-1]

    yield play
    await asyncio.gather(*(peer.pc.close() for peer in peers))


@pytest.fixture
def whip_encoder() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`whip_encoder(url, token, seconds)`: FFmpeg's whip muxer in a process of its own."""
    processes: list[subprocess.Popen[str]] = []

    def start(url: str, token: str, seconds: float) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "whip_encoder.py"), url, token, str(seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=10)


@pytest.fixture
def chromium_page() -> Callable[[NodeHandle], Any]:
    """`async with chromium_page(node) as page`: a page of the node's own origin with `page.js` in it."""

    @asynccontextmanager
    async def open_page(node: NodeHandle) -> AsyncIterator[Any]:
        from playwright.async_api import async_playwright

        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
            page = await browser.new_page()
            await page.goto(f"{node.url}/healthz")
            await page.add_script_tag(content=(HERE / "page.js").read_text())
            yield page
            await browser.close()

    return open_page


@pytest.fixture
def eventually() -> Callable[..., Awaitable[Any]]:
    """`await eventually(check, seconds)`: the first true answer of `check` (sync or async), or a failure."""

    async def wait(check: Callable[[], Any], seconds: float = 8.0, what: str = "") -> Any:
        deadline_s = time.monotonic() + seconds
        while True:
            found = check()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            assert time.monotonic() < deadline_s, f"not within {seconds} s: {what or check}; last {found!r}"
            await asyncio.sleep(0.05)

    return wait
