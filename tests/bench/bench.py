"""µs of server CPU per packet sent, and ms of server CPU per join: our media node, Pion, Janus and aiortc, in one run.

`python tests/bench/bench.py --out build/bench.json`. Every server is a process of its own and is charged its user and
system time (from the kernel, the same way for all), which on loopback includes much of the receivers' way through the
kernel. Runs are paced (no server is driven to saturation), several, and the median counts. The clients are the same
for all: real HTTP, ICE checks and DTLS to join, then sockets that count; a sample of what arrived is decrypted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from aiortc import RTCPeerConnection, RTCSessionDescription
from light_peers import LightPeer, Room, receive_socket, srtp
from plot import fanout_svg
from pylibsrtp import Error as SrtpError
from servers import Missing, Server, child, cpu_s, join_many, running_anke, running_janus, running_pion
from stream import PACKETS_PER_S, bursts

HERE = Path(__file__).parent
RUNS = 5
RUN_S = 3.0
WARM_UP_S = 2.5
JOINS = 40
AIORTC_JOINS = 12
# A run that loses more was not paced: the machine was too busy for it, and its figure says nothing.
MAX_LOSS = 0.01

# Our node also at 100, to compare 1000 with.
VIEWERS: dict[str, tuple[int, ...]] = {"anke": (40, 100, 120, 1000), "pion": (40, 120), "janus": (40, 120)}
SERVERS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "anke": running_anke,
    "pion": running_pion,
    "janus": running_janus,
}


async def measure_joins(server: Server) -> dict[str, Any]:
    """ms of the server's CPU per viewer's join, all in: HTTP, whatever it checks, SDP, ICE, DTLS, its streams."""
    _, publisher = await server.publish()
    peers = await join_many(server, 8, "warm")
    before_s, began_s = cpu_s(server.process), time.monotonic()
    await asyncio.sleep(2.0)
    idle_share = (cpu_s(server.process) - before_s) / (time.monotonic() - began_s)
    runs = []
    for run in range(3):
        before_s, began_s = cpu_s(server.process), time.monotonic()
        for number in range(JOINS):
            peers.append(await server.play(f"join{run}-{number}"))
        spent_s = cpu_s(server.process) - before_s - idle_share * (time.monotonic() - began_s)
        runs.append(round(1000 * spent_s / JOINS, 2))
    await server.close()
    for peer in [*peers, *([publisher] if publisher else [])]:
        peer.sock.close()
    return {"server": server.name, "cpu_ms": statistics.median(runs), "runs": runs}


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


async def measure_fanout(server: Server, viewers: int) -> dict[str, Any]:
    """The lecture stream to `viewers` joined peers. With `rss_per_viewer_kib`: what the process grew by."""
    publish, publisher = await server.publish()
    peers = await join_many(server, 2, "first")
    before_bytes = server.process.memory_info().rss
    peers += await join_many(server, viewers - 2, "v")
    await server.close()
    room = Room(publish, peers, publisher)
    stream, began_s = bursts(), time.monotonic()
    room.run(stream, began_s, WARM_UP_S)
    runs = []
    for _ in range(RUNS):
        for peer in peers:
            peer.reset()
        room.published = 0
        before_s = cpu_s(server.process)
        room.run(stream, began_s, RUN_S)
        spent_s = cpu_s(server.process) - before_s
        # What is still on its way belongs to this run.
        room.receive(0.05)
        room.receive(0.05)
        received = sum(peer.video + peer.audio for peer in peers)
        loss = 1 - received / (room.published * viewers)
        runs.append({"us_per_packet": 1e6 * spent_s / received, "packets": received, "loss": loss})
    grown_kib = (server.process.memory_info().rss - before_bytes) / 1024 / (viewers - 2)
    assert_opens(peers)
    room.close()
    return median(server.name, viewers, runs) | {"rss_per_viewer_kib": round(grown_kib, 1)}


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
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
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
    return median("aiortc", viewers, runs)


def median(server: str, viewers: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    middle = sorted(runs, key=lambda run: run["us_per_packet"])[len(runs) // 2]
    figures = [round(run["us_per_packet"], 2) for run in runs]
    return {
        "server": server,
        "viewers": viewers,
        "us_per_packet": round(middle["us_per_packet"], 2),
        "packets": middle["packets"],
        "loss": round(statistics.fmean(run["loss"] for run in runs), 6),
        "valid": all(run["loss"] < MAX_LOSS for run in runs),
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


def ratios(report: dict[str, Any]) -> dict[str, float]:
    """How many times the others' cost is ours, and how flat ours is."""
    us = {(row["server"], row["viewers"]): row["us_per_packet"] for row in report["fanout"] if row["valid"]}
    found = {
        f"{server}/anke at {viewers}": round(value / us["anke", viewers], 2)
        for (server, viewers), value in us.items()
        if server != "anke" and ("anke", viewers) in us
    }
    if ("anke", 1000) in us and ("anke", 100) in us:
        found["anke 1000/100"] = round(us["anke", 1000] / us["anke", 100], 2)
    ms = {row["server"]: row["cpu_ms"] for row in report["join"]}
    return found | {f"{name}/anke join": round(value / ms["anke"], 2) for name, value in ms.items() if name != "anke"}


def print_table(report: dict[str, Any]) -> None:
    print(f"{'server':<8} {'viewers':>7} {'µs/packet':>10} {'packets':>9} {'loss':>9}   runs")
    for row in report["fanout"]:
        print(
            f"{row['server']:<8} {row['viewers']:>7} {row['us_per_packet']:>10.2f} {row['packets']:>9} "
            f"{row['loss']:>9.5f}   {row['runs']}{'' if row['valid'] else '   NOT VALID: the machine was too busy'}"
        )
    for row in report["join"]:
        print(f"{row['server']:<8} one join: {row['cpu_ms']:.2f} ms of CPU")
    print(f"memory of our node: {report['rss_per_viewer_kib']} KiB a viewer")
    for name, value in report["ratios"].items():
        print(f"{name}: {value}")
    for line in report["missing"]:
        print(f"missing: {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the figures go, JSON; the plot beside it, SVG")
    parser.add_argument("--servers", nargs="*", default=[*VIEWERS, "aiortc"], help="only these")
    parser.add_argument("--viewers", nargs="*", type=int, help="only these numbers of viewers")
    arguments = parser.parse_args()
    out: Path = arguments.out
    report: dict[str, Any] = {"fanout": [], "join": [], "machine": machine(), "stream_packets_per_s": PACKETS_PER_S}
    report["missing"] = []

    def wanted(numbers: tuple[int, ...]) -> list[int]:
        return [number for number in numbers if not arguments.viewers or number in arguments.viewers]

    for name in [name for name in VIEWERS if name in arguments.servers]:
        try:
            for viewers in wanted(VIEWERS[name]):
                with SERVERS[name]() as server:
                    report["fanout"].append(asyncio.run(measure_fanout(server, viewers)))
                    print(f"bench: {name} to {viewers}: {report['fanout'][-1]['us_per_packet']} µs", flush=True)
            with SERVERS[name]() as server:
                report["join"].append(asyncio.run(measure_joins(server)))
        except Missing as missing:
            report["missing"].append(str(missing))
    if "aiortc" in arguments.servers:
        report["fanout"] += [measure_aiortc(viewers) for viewers in wanted((40, 120))]
        report["join"].append({"server": "aiortc", "cpu_ms": round(asyncio.run(measure_aiortc_joins()), 2)})
    ours = [row for row in report["fanout"] if row["server"] == "anke"]
    # Of the largest class, where what a process needs anyway weighs least.
    report["rss_per_viewer_kib"] = max(ours, key=lambda row: row["viewers"])["rss_per_viewer_kib"] if ours else None
    report["ratios"] = ratios(report) if ours else {}
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(out.read_text()) if out.exists() else {}
    out.write_text(json.dumps(kept | report, indent=2, ensure_ascii=False) + "\n")
    out.with_suffix(".svg").write_text(fanout_svg(report))
    print_table(report)


if __name__ == "__main__":
    main()
