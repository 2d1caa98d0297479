"""A WebRTC client for the demo: publishes a camera by WHIP, plays the lecture by WHEP, comes back when a node dies.

Twelve of these share two cores with everything else, so what arrives is received, ordered and acknowledged as by any
client, but not decoded: complete frames are counted where aiortc would hand them to a decoder.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import aioice.ice
import aiortc.codecs.vpx
import aiortc.rtcrtpreceiver
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
from av import VideoFrame

if TYPE_CHECKING:
    from web.demo.client import Api

# RFC 7675 5.1 lets consent last 30 s; a learner must be back within 15 s of a node's death, so we ask more often.
CONSENT_INTERVAL_S = 1
CONSENT_FAILURES = 3
CAMERA_FPS = 5
CAMERA_BITRATE_BPS = 180_000  # 352x288 at 5 fps: 36 kbit a frame keeps a face well above the judge's needs
RETRY_S = 0.7
CONNECT_PATIENCE_S = 8.0
CLOCK_RATE = 90_000  # RFC 3551 5: video clock

PROCESS_BEGAN_S = time.monotonic()

Grant = dict[str, Any]
Picture = Callable[[float], VideoFrame]


def lighten(loopback: bool) -> None:
    """Adjusts aiortc for a demo client, once per process: quick consent, small pictures, no decoding."""
    aioice.ice.CONSENT_INTERVAL = CONSENT_INTERVAL_S
    aioice.ice.CONSENT_FAILURES = CONSENT_FAILURES
    aiortc.codecs.vpx.DEFAULT_BITRATE = CAMERA_BITRATE_BPS
    aiortc.codecs.vpx.MIN_BITRATE = CAMERA_BITRATE_BPS // 2
    aiortc.codecs.vpx.MAX_BITRATE = CAMERA_BITRATE_BPS * 2
    aiortc.rtcrtpreceiver.decoder_worker = count_frames
    if loopback:
        # aioice never offers loopback; a platform on this machine listens nowhere else.
        aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


class Arrivals:
    """Complete encoded frames that reached this process, by kind."""

    def __init__(self) -> None:
        self.frames: dict[str, int] = {}
        self.octets = 0
        self.last_s = 0.0
        self._lock = threading.Lock()

    def count(self, codec: str, octets: int) -> None:
        with self._lock:
            self.frames[codec] = self.frames.get(codec, 0) + 1
            self.octets += octets
            self.last_s = time.monotonic()


ARRIVALS = Arrivals()


def count_frames(
    loop: asyncio.AbstractEventLoop,
    input_q: queue.Queue[Any],
    output_q: asyncio.Queue[Any],
    decode_error: threading.Event,
) -> None:
    """Takes the place of aiortc's decoder thread."""
    while (task := input_q.get()) is not None:
        codec, encoded = task
        ARRIVALS.count(codec.name, len(encoded.data))
    asyncio.run_coroutine_threadsafe(output_q.put(None), loop)


class CameraTrack(VideoStreamTrack):
    """What a camera shows, paced by the wall clock. `picture(t_s)`: t_s since the process began."""

    def __init__(self, picture: Picture) -> None:
        super().__init__()
        self._picture = picture
        self._started_s = time.monotonic()
        self._frames = 0

    async def recv(self) -> VideoFrame:
        due_s = self._started_s + self._frames / CAMERA_FPS
        now_s = time.monotonic()
        if now_s < due_s:
            await asyncio.sleep(due_s - now_s)
        elif now_s > due_s + 1.0:
            # The machine was busy: leave frames out instead of sending them in a burst.
            self._frames = int((now_s - self._started_s) * CAMERA_FPS)
        self._frames += 1
        now_s = time.monotonic()
        frame = self._picture(now_s - PROCESS_BEGAN_S)
        frame.pts, frame.time_base = int((now_s - self._started_s) * CLOCK_RATE), Fraction(1, CLOCK_RATE)
        return frame


class Leg:
    """One WHIP or WHEP session that is made again whenever it ends. `grant` is asked anew for every attempt."""

    def __init__(
        self, api: Api, grant: Callable[[], Awaitable[Grant | None]], build: Callable[[Grant], RTCPeerConnection]
    ):
        self.connections = 0
        self.connected = asyncio.Event()
        self.problem = ""
        self._api, self._grant, self._build = api, grant, build
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            try:
                await self._once()
                self.problem = "ended"
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RuntimeError) as error:
                self.problem = f"{type(error).__name__}: {error}"
            self.connected.clear()
            await asyncio.sleep(RETRY_S)

    async def _once(self) -> None:
        grant = await self._grant()
        if grant is None:
            return
        connection = self._build(grant)
        ended, connected = asyncio.Event(), asyncio.Event()

        @connection.on("connectionstatechange")
        def changed() -> None:
            if connection.connectionState == "connected":
                connected.set()
            elif connection.connectionState in ("failed", "closed"):
                ended.set()

        location = None
        try:
            location = await self._offer(connection, grant)
            await asyncio.wait_for(connected.wait(), CONNECT_PATIENCE_S)
            self.connections += 1
            self.connected.set()
            await ended.wait()
        finally:
            self.connected.clear()
            await asyncio.shield(self._close(connection, location, grant, politely=not ended.is_set()))

    async def _offer(self, connection: RTCPeerConnection, grant: Grant) -> str | None:
        await connection.setLocalDescription(await connection.createOffer())
        headers = {"Authorization": f"Bearer {grant['token']}", "Content-Type": "application/sdp"}
        async with self._api.session.post(
            grant["url"], data=connection.localDescription.sdp, headers=headers
        ) as answer:
            text = await answer.text()
            if answer.status != 201:
                raise RuntimeError(f"{grant['url']} answered {answer.status}: {text[:200]}")
            location = answer.headers.get("Location")
        await connection.setRemoteDescription(RTCSessionDescription(text, "answer"))
        return urljoin(grant["url"], location) if location else None

    async def _close(self, connection: RTCPeerConnection, location: str | None, grant: Grant, politely: bool) -> None:
        if location and politely:
            headers = {"Authorization": f"Bearer {grant['token']}"}
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with self._api.session.delete(location, headers=headers):
                    pass
        await connection.close()


def camera_connection(picture: Picture) -> Callable[[Grant], RTCPeerConnection]:
    """A publisher of one VP8 camera."""

    def build(grant: Grant) -> RTCPeerConnection:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        transceiver = connection.addTransceiver(CameraTrack(picture), direction="sendonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType in ("video/VP8", "video/rtx")])
        return connection

    return build


def player_connection(grant: Grant) -> RTCPeerConnection:
    """A viewer with one receiver per slot, in the grant's order, but for the guests' voices: nobody listens here, and
    aiortc takes candidates from the last m-line of a kind only, where a bundle has none (RFC 8843 7.1.3)."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for slot in grant["slots"]:
        if slot["name"].startswith("voice"):
            continue
        connection.addTransceiver(slot["kind"], direction="recvonly")
    return connection


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
