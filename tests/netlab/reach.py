"""Every network: a learner behind each kind of obstacle gets the picture, by the page's own player in Chromium.

`await udp_blocked(network)` and its like build a server, an obstacle and a learner, and answer with an `Outcome`: how
long the first picture took (or the longest pause, where the obstacle comes in mid-class) and by which way it came.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from av import VideoFrame

from media.ice_servers import Turn
from media.tokens import SlotClaim
from tests.netlab.network import Host, Network
from tests.netlab.running import NodeInside, chromium, start_media_node, start_redis
from web.settings import Settings
from web.turn import turn_plan

HERE = Path(__file__).parent
UI = HERE.parent.parent / "web" / "ui"
# Browsers want a certificate of an authority they know; these tests have their own and are about the way, not the name.
TRUST_ANY_CERTIFICATE = "--ignore-certificate-errors"
PATIENCE_S = 60.0
SECONDS_BEFORE_THE_MOVE = 4.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """`seconds` until the first picture, or of the longest pause around an event mid-class.

    `way`: candidate type, protocol and, by relay, how the relay is reached. `peers`: connections that the page built;
    one when a session outlived the event.
    """

    scenario: str
    seconds: float
    way: dict[str, str]
    peers: int


class Bars(MediaStreamTrack):
    """A moving bar, 320x240 at 15 frames a second."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._started_s = time.monotonic()

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(max(0.0, self._started_s + self._number / 15 - time.monotonic()))
        image = np.full((240, 320, 3), 90, np.uint8)
        image[:, self._number * 4 % 300 :][:, :20] = 255
        frame = VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = self._number * 6000, Fraction(1, 90_000)
        self._number += 1
        return frame


@asynccontextmanager
async def lecture(node: NodeInside, url: str, name: str) -> AsyncIterator[None]:
    """A publisher in this process, on its clean line."""
    pc = RTCPeerConnection()
    pc.addTrack(Bars())
    await pc.setLocalDescription(await pc.createOffer())
    async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
        answer = await http.post(
            f"{url}/whip/{name}",
            content=pc.localDescription.sdp,
            headers={
                "Content-Type": "application/sdp",
                "Authorization": f"Bearer {node.token('publish', name)}",
            },
        )
    answer.raise_for_status()
    await pc.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    try:
        yield
    finally:
        await pc.close()


def build_page(folder: Path) -> Path:
    """The page's media code as one script."""
    subprocess.run(["node", str(HERE / "page" / "build.mjs"), str(folder)], cwd=UI, check=True)
    return folder / "watch.js"


async def _seen(page: Any, ready: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        seen: dict[str, Any] = await page.evaluate("() => seen()")
        if ready(seen):
            return seen
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what}: not within {PATIENCE_S:.0f} s; last {seen['status']} {seen['way']}")
        await asyncio.sleep(0.1)


async def watch(
    scenario: str,
    node: NodeInside,
    url: str,
    learner: Host,
    folder: Path,
    turn: Turn | None = None,
    move: Callable[[], None] | None = None,
) -> Outcome:
    """Publishes, lets the learner watch, makes `move` happen while they do, and measures."""
    name, script = f"x{secrets.token_hex(5)}", await asyncio.to_thread(build_page, folder)
    grant: dict[str, Any] = {
        "url": f"{url}/whep/{name}.learner",
        "token": node.token("play", f"{name}.learner", [SlotClaim("camera", "video", name)]),
        "id": f"{name}.learner",
        "slots": [{"name": "camera", "kind": "video"}],
        "ice_servers": [],
    }
    if turn is not None:
        username, credential = turn.credentials("p_learner", time.time_ns() // 1_000_000)
        grant["ice_servers"] = [{"urls": list(turn.urls), "username": username, "credential": credential}]
    async with (
        lecture(node, _reached_from_here(node, url), name),
        chromium(learner, f"{url}/healthz", arguments=(TRUST_ANY_CERTIFICATE,), script=script) as page,
    ):
        began_ms = await page.evaluate("grant => watch(grant)", grant)
        seen = await _seen(page, lambda seen: len(seen["pictures_ms"]) > 5 and seen["way"], "the first pictures")
        seconds = (seen["pictures_ms"][0] - began_ms) / 1000
        if move is not None:
            await asyncio.sleep(SECONDS_BEFORE_THE_MOVE)
            moved_ms = time.time_ns() // 1_000_000
            move()
            seen = await _seen(
                page,
                lambda seen: len([at for at in seen["pictures_ms"] if at > moved_ms + 1500]) > 15,
                "pictures after the move",
            )
            pictures = [at for at in seen["pictures_ms"] if at >= moved_ms - 2000]
            seconds = max(after - before for before, after in zip(pictures, pictures[1:], strict=False)) / 1000
        return Outcome(scenario, round(seconds, 3), seen["way"], seen["peers"])


def _reached_from_here(node: NodeInside, url: str) -> str:
    return node.url if node.host.ip else url


async def udp_blocked(network: Network, folder: Path) -> Outcome:
    """No UDP leaves the learner's network: ICE over TCP on the same port number."""
    server, learner = network.host("server"), network.host("learner")
    learner.firewall("udp-blocked")
    node = start_media_node(server, start_redis(server))
    return await watch("udp_blocked", node, node.url, learner, folder)


async def only_tcp_443(network: Network, folder: Path) -> Outcome:
    """Nothing but TCP to port 443 leaves: TURN over TLS, on an address of its own beside the page's."""
    server, relay, learner = network.host("server"), network.host("relay"), network.host("learner")
    learner.firewall("tcp-443-only")
    settings = Settings(data_dir=folder, host=relay.ip, turn_tls_port=443, media_public_ips=[relay.ip, server.ip])
    relay.start(list(turn_plan(settings).command), log="turn")
    turn = Turn((f"turns:{relay.ip}:443?transport=tcp",), settings.keys.turn)
    node = start_media_node(server, start_redis(server), http_port=443)
    return await watch("only_tcp_443", node, node.url, learner, folder, turn)


async def ipv6_only(network: Network, folder: Path) -> Outcome:
    """The learner has no IPv4 at all, neither for the page nor for the media."""
    server, learner = network.host("server"), network.host("learner", addressing="ipv6")
    url = f"http://[{server.ip6}]:8080"
    node = start_media_node(server, start_redis(server), http_host="::", public_url=url)
    return await watch("ipv6_only", node, url, learner, folder)


async def address_changed(network: Network, folder: Path) -> Outcome:
    """The learner's address changes while they watch, as from Wi-Fi to a mobile network: the longest pause."""
    server, learner = network.host("server"), network.host("learner")
    node = start_media_node(server, start_redis(server))
    return await watch("address_changed", node, node.url, learner, folder, move=learner.readdress)


async def moved_behind_firewall(network: Network, folder: Path) -> Outcome:
    """The learner changes over to a network that lets no UDP out: the same session goes on by TCP."""
    server, learner = network.host("server"), network.host("learner")
    node = start_media_node(server, start_redis(server))

    def move() -> None:
        learner.firewall("udp-blocked")
        learner.readdress()

    return await watch("moved_behind_firewall", node, node.url, learner, folder, move=move)


SCENARIOS: dict[str, Callable[[Network, Path], Awaitable[Outcome]]] = {
    scenario.__name__: scenario  # type: ignore[attr-defined]
    for scenario in (udp_blocked, only_tcp_443, ipv6_only, address_changed, moved_behind_firewall)
}
