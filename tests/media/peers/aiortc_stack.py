"""aiortc as a peer."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import math
import time
from dataclasses import dataclass, field
from fractions import Fraction

import httpx
import numpy as np
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame, VideoFrame
from commands import Seen, serve

RATE_HZ, SAMPLES = 48_000, 960
AUDIBLE = 500  # of 32767: what a tone has and silence has not


class Picture(MediaStreamTrack):
    """A moving bar over red, 320x240 at 15 frames a second."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._image = np.full((240, 320, 3), (200, 30, 30), np.uint8)
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


class Tone(MediaStreamTrack):
    """440 Hz."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._started_s = time.monotonic()

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(max(0.0, self._started_s + self._number * SAMPLES / RATE_HZ - time.monotonic()))
        at = (np.arange(SAMPLES) + self._number * SAMPLES) / RATE_HZ
        wave = (np.sin(2 * math.pi * 440 * at) * 8000).astype(np.int16)
        frame = AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, self._number * SAMPLES
        frame.time_base = Fraction(1, RATE_HZ)
        self._number += 1
        return frame


@dataclass
class Session:
    pc: RTCPeerConnection
    location: str
    token: str
    seen: Seen
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class AiortcPeers:
    def __init__(self) -> None:
        self.name = f"aiortc {importlib.metadata.version('aiortc')}"
        self._sessions: list[Session] = []

    async def publish(self, url: str, token: str) -> int:
        pc = RTCPeerConnection()
        pc.addTrack(Tone())
        pc.addTrack(Picture())
        return await self._begin(pc, url, token)

    async def play(self, url: str, token: str) -> int:
        pc = RTCPeerConnection()
        receivers = [pc.addTransceiver(kind, direction="recvonly").receiver for kind in ("audio", "video")]
        number = await self._begin(pc, url, token)
        session = self._sessions[number]
        watches = (self._listen(session, receivers[0].track), self._watch(session, receivers[1].track))
        session.tasks = [asyncio.create_task(watch) for watch in watches]
        return number

    async def _begin(self, pc: RTCPeerConnection, url: str, token: str) -> int:
        await pc.setLocalDescription(await pc.createOffer())
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"}
            response = await client.post(url, content=pc.localDescription.sdp, headers=headers)
        if response.status_code != 201:
            raise RuntimeError(f"{response.status_code} {response.text}")
        await pc.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
        seen: Seen = {"pictures": 0, "width": 0, "sound": 0.0}
        self._sessions.append(Session(pc, response.headers["Location"], token, seen))
        return len(self._sessions) - 1

    async def _watch(self, session: Session, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while isinstance(frame := await track.recv(), VideoFrame):
                session.seen["pictures"] += 1
                session.seen["width"] = frame.width

    async def _listen(self, session: Session, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while isinstance(frame := await track.recv(), AudioFrame):
                session.seen["sound"] += float(np.abs(frame.to_ndarray()).max() > AUDIBLE)

    async def seen(self, peer: int) -> Seen:
        return self._sessions[peer].seen

    async def stop(self, peer: int) -> None:
        session = self._sessions[peer]
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            await client.delete(session.location, headers={"Authorization": f"Bearer {session.token}"})
        await session.pc.close()
        for task in session.tasks:
            await task


if __name__ == "__main__":
    asyncio.run(serve(AiortcPeers()))
