"""Three media nodes on hosts of their own, one lecture, viewers on each; one node is drained, one is killed.

    python -m tests.media.three_nodes build/nodes.json        # prints and writes the measured times

Clients are aiortc peers that do what the page does: they open on the node that the placement names and, told
`media.moved` by the same watcher as pages are, build anew elsewhere (`web/ui/src/media/link.ts`).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, MediaStreamTrack
from redis.asyncio import Redis

from media.control import MediaControl
from media.errors import MediaError
from media.registry import NodeInfo
from media.tokens import SlotClaim
from signaling.lesson_namespace import Window
from signaling.media_moves import MediaMoves
from signaling.seats import Seat
from tests.media.conftest import ColourTrack
from tests.netlab.network import Network
from tests.netlab.running import CONTROL_SECRET, NodeInside, start_media_node, start_redis

ROOM = "l_three"
LECTURE = f"{ROOM}.lecture"
RETRY_S = 0.5


@dataclass(eq=False)
class Client:
    """One participant: `publishes` the lecture or views it. `frames` are the times at which pictures came."""

    name: str
    scene: Scene
    publishes: bool = False
    node_url: str = ""
    frames: list[float] = field(default_factory=list)
    _pc: RTCPeerConnection | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _moving: asyncio.Task[None] | None = None

    async def open(self, node_url: str) -> None:
        """A connection to this node; returns when it is up. OSError, MediaError or TimeoutError."""
        pc = RTCPeerConnection()
        token_of = self.scene.nodes[0].token
        claims = {"holder": f"p_{self.name}", "seat": f"s_{self.name}", "room": ROOM}
        if self.publishes:
            pc.addTrack(AudioStreamTrack())
            pc.addTrack(ColourTrack((200, 30, 30)))
            url, token = f"{node_url}/whip/{LECTURE}", token_of("publish", LECTURE, **claims)
        else:
            slots = [SlotClaim("audio", "audio", LECTURE), SlotClaim("camera", "video", LECTURE)]
            for kind in ("audio", "video"):
                pc.addTransceiver(kind, direction="recvonly")
            url, token = f"{node_url}/whep/{ROOM}.{self.name}", token_of("play", f"{ROOM}.{self.name}", slots, **claims)
        up = asyncio.Event()
        pc.on("connectionstatechange", lambda: up.set() if pc.connectionState == "connected" else None)
        await pc.setLocalDescription(await pc.createOffer())
        headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"}
        try:
            response = await self.scene.http.post(url, content=pc.localDescription.sdp, headers=headers)
            if response.status_code != 201:
                raise MediaError("no_node", f"{response.status_code} {response.text}")
            await pc.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
            if not self.publishes:
                self._run(self._watch(pc.getTransceivers()[1].receiver.track))
            await asyncio.wait_for(up.wait(), 8)
        except BaseException:
            await pc.close()
            raise
        before, self._pc, self.node_url = self._pc, pc, node_url
        if before is not None:
            await before.close()

    def moved(self, public_url: str, reason: str) -> None:
        if self.node_url == public_url and (self._moving is None or self._moving.done()):
            self._moving = asyncio.create_task(self._move(reason == "gone"))

    async def _move(self, gone: bool) -> None:
        if gone and self._pc is not None:
            await self._pc.close()
            self._pc = None
        left = self.node_url
        while True:
            try:
                node = await self.scene.control.node(ROOM)
                if node.public_url != left:
                    return await self.open(node.public_url)
            except (MediaError, httpx.HTTPError, TimeoutError, OSError) as error:
                print(f"{self.name}: again, {error!r}", file=sys.stderr)
            await asyncio.sleep(RETRY_S)

    async def _watch(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                await track.recv()
            except MediaStreamError:
                return
            self.frames.append(time.monotonic())

    def _run(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        if self._moving is not None:
            self._moving.cancel()
        if self._pc is not None:
            await self._pc.close()

    def gap_s(self, since_s: float) -> float:
        """The longest time without a picture that began or went on after `since_s`."""
        times = [at for at in self.frames if at <= since_s][-1:] + [at for at in self.frames if at > since_s]
        return max((b - a for a, b in zip(times, times[1:], strict=False)), default=float("inf"))


class Scene:
    """The three nodes and who is there."""

    def __init__(self, network: Network) -> None:
        self.redis_url = start_redis(network.host("hub"))
        self.nodes: list[NodeInside] = []
        for name in "abc":
            prefix = {"redis_prefix": self.nodes[0].prefix} if self.nodes else {}
            node = start_media_node(network.host(name), self.redis_url, node_id=f"m_{name}", wait=False, **prefix)
            self.nodes.append(node)
        self.http = httpx.AsyncClient(timeout=5, trust_env=False)
        self.redis = Redis.from_url(self.redis_url)
        self.control = MediaControl(self.redis, CONTROL_SECRET, prefix=self.nodes[0].prefix)
        self.clients: list[Client] = []
        windows: dict[str, Window] = {}
        self._windows = windows
        context: Any = SimpleNamespace(media=self.control)
        namespace: Any = SimpleNamespace(windows=windows)
        server: Any = SimpleNamespace(emit=self._emit)
        self._moves = MediaMoves(context, namespace, server)
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await until(self._all_registered, 60, "three nodes")
        self._watching = asyncio.create_task(self._moves.run())

    async def _all_registered(self) -> bool:
        return len(await self.control.nodes()) == 3

    async def _emit(self, event: str, body: dict[str, Any], *, to: str, **_: Any) -> None:
        next(client for client in self.clients if client.name == to).moved(body["public_url"], body["reason"])

    async def join(self, name: str, node: NodeInside, *, publishes: bool = False) -> Client:
        client = Client(name, self, publishes)
        actor: Any = SimpleNamespace(person_id=f"p_{name}")
        self._windows[name] = Window(name, actor, "-", seat=Seat(f"s_{name}", f"p_{name}", "-", "-", ROOM))
        self.clients.append(client)
        await client.open(node.url)
        return client

    async def snapshot(self, node: NodeInside) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {CONTROL_SECRET}"}
        answer = await self.http.get(f"{node.url}/control/snapshot", headers=headers)
        answer.raise_for_status()
        return dict(answer.json())

    async def record(self, node: NodeInside) -> NodeInfo | None:
        return next((item for item in await self.control.nodes() if item.node_id == node.node_id), None)

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        await asyncio.gather(*(client.close() for client in self.clients), return_exceptions=True)
        await self.control.close()
        await self.http.aclose()
        await self.redis.aclose()


async def until(check: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    deadline_s = time.monotonic() + seconds
    while not await check():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.1)


async def pictures(viewers: list[Client], since_s: float, seconds: float) -> float:
    """How long after `since_s` until every viewer, wherever it is by then, gets pictures. TimeoutError."""

    async def all_see() -> bool:
        return all(len([at for at in viewer.frames if at > since_s]) >= 3 for viewer in viewers)

    try:
        await until(all_see, seconds, "pictures")
    except TimeoutError as error:
        seen = {v.name: (v.node_url, len([at for at in v.frames if at > since_s])) for v in viewers}
        raise TimeoutError(f"{error}: {seen}") from None
    return time.monotonic() - since_s


async def copies(scene: Scene, home: NodeInside, away: NodeInside) -> dict[str, Any]:
    """What of the lecture crosses from `home` to `away`, and what `away` makes of it."""
    there, here = await scene.snapshot(away), await scene.snapshot(home)
    given = [item for item in here["trunks"]["given"] if item["node_id"] == away.node_id]
    slots = {slot["slot_id"]: slot for slot in here["router"]["slots"]}
    video = [item for item in given if item["kind"] == "video"]
    pictures_there = {flow["ingest_id"] for flow in there["router"]["ingests"] if flow["kind"] == "video"}
    shown = [slot for slot in there["router"]["slots"] if slot["ingest_id"] in pictures_there]
    return {
        "streams": sorted(item["kind"] for item in given),
        "video_bytes_sent": sum(slots[item["slot_id"]]["payload_bytes"] for item in video),
        "video_bytes_to_viewers": sum(slot["payload_bytes"] for slot in shown),
        "viewers": len(there["sessions"]["subscriptions"]),
    }


async def play(network: Network, patience_s: float = 60.0) -> dict[str, Any]:
    """The whole scene; raises TimeoutError where something does not happen within `patience_s`."""
    scene = Scene(network)
    try:
        await scene.start()
        a, b, c = scene.nodes
        began_s = time.monotonic()
        await scene.join("teacher", a, publishes=True)
        viewers = [await scene.join(name, node) for name, node in (("a1", a), ("b1", b), ("b2", b), ("c1", c))]
        first_s = await pictures(viewers, began_s, patience_s)
        await asyncio.sleep(3)
        report: dict[str, Any] = {
            "first_pictures_s": round(first_s, 2),
            "a_to_b": await copies(scene, a, b),
            "a_to_c": await copies(scene, a, c),
        }

        drained_s = time.monotonic()
        await scene.control.drain(b.node_id)
        on_b = [client for client in viewers if client.node_url == b.url]

        async def left() -> bool:
            record = await scene.record(b)
            return all(client.node_url != b.url for client in on_b) and record is not None and record.sessions == 0

        await until(left, patience_s, "b is left")
        empty_s = time.monotonic() - drained_s
        back_s = await pictures(viewers, time.monotonic(), patience_s) + empty_s
        report["drain"] = {
            "moved": [client.name for client in on_b],
            "node_empty_after_s": round(empty_s, 2),
            "all_have_pictures_after_s": round(back_s, 2),
            "longest_gap_s": {client.name: round(client.gap_s(drained_s), 2) for client in on_b},
        }

        killed_s = time.monotonic()
        a.process.kill()
        await asyncio.to_thread(a.process.wait, 10)

        async def nobody() -> bool:
            return all(client.node_url != a.url for client in scene.clients)

        await until(nobody, patience_s, "everyone is off the dead node")
        await pictures(viewers, time.monotonic(), patience_s)
        report["kill"] = {
            "off_it": {client.name: client.node_url == c.url for client in scene.clients},
            "all_have_pictures_after_s": round(time.monotonic() - killed_s, 2),
            "longest_gap_s": {client.name: round(client.gap_s(killed_s), 2) for client in viewers},
        }
        return report
    finally:
        await scene.close()


def main() -> None:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "build/nodes.json")
    with Network() as network:
        report = asyncio.run(play(network))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(path.read_text(), end="")


if __name__ == "__main__":
    main()
