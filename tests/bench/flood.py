"""What a flood of garbage at the media port costs the viewers of a running class: their loss with and without it.

`python tests/bench/flood.py --out build/flood.json`. A real media node, one publisher, viewers that count; then a
process that sends garbage over loopback: noise, STUN-like, RTP-like from strangers and from an address that the node
knows. GSO lets it send that many; the node receives every datagram of a train by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from light_peers import LightPeer, Room
from servers import CONTROL_SECRET, WhipWhepServer, cpu_s, join_many, running_anke
from stream import bursts

VIEWERS = 20
PASSES = 3
PASS_S = 4.0
SETTLE_S = 1.0
RATE_PER_S = 50_000
TRAIN = 40
UDP_SEGMENT = 103  # linux/udp.h


def garbage() -> Iterator[tuple[bool, int, bytes]]:
    """Trains of equally long datagrams without end: (from a known address, length of one, all of them)."""
    kinds = ("noise", "stun", "stun_named", "rtp", "rtp_known", "rtcp_known")
    while True:
        for kind in kinds:
            size_bytes = 60 + os.urandom(1)[0] * 4
            train = b"".join(datagram(kind, size_bytes) for _ in range(TRAIN))
            yield kind.endswith("known"), size_bytes, train


def datagram(kind: str, size_bytes: int) -> bytes:
    noise = os.urandom(size_bytes)
    if kind == "noise":
        return noise
    if kind.startswith("stun"):
        # A whole message: one half has the user name of nobody, the other only an attribute that means nothing.
        head = struct.pack("!HHI", 0x0001, size_bytes - 20, 0x2112A442) + noise[:12]
        name = struct.pack("!HH", 0x0006, 8) + b"abc:defg" if kind == "stun_named" else b""
        rest_bytes = size_bytes - len(head) - len(name) - 4
        return head + name + struct.pack("!HH", 0x8023, rest_bytes) + noise[:rest_bytes]
    if kind == "rtcp_known":
        return (b"\x81\xc9\x00\x07" + noise)[:size_bytes]
    return (struct.pack("!BBH", 0x80, 96, noise[0]) + noise)[:size_bytes]


def send(port: int, rate_per_s: float, seconds: float, known_fd: int) -> int:
    """Sends garbage to the node for `seconds`; how many datagrams that were."""
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.connect(("127.0.0.1", port))
    known = socket.socket(fileno=os.dup(known_fd))
    known.setblocking(True)
    prepared = [train for train, _ in zip(garbage(), range(600), strict=False)]
    began_s = time.monotonic()
    sent = 0
    while (elapsed_s := time.monotonic() - began_s) < seconds:
        while sent < elapsed_s * rate_per_s:
            is_known, size_bytes, train = prepared[sent // TRAIN % len(prepared)]
            sock = known if is_known else stranger
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size_bytes)
            sock.send(train)
            sent += TRAIN
        time.sleep(0.001)
    known.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
    return sent


def kernel_drops(port: int) -> int:
    """Datagrams that found the node's receive buffers full (the last column of /proc/net/udp)."""
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    return sum(int(line.split()[-1]) for line in lines if line.split()[1].endswith(f":{port:04X}"))


async def join_class(server: WhipWhepServer) -> tuple[Room, list[LightPeer], LightPeer]:
    """The class, its viewers, and one more that has joined and will be hostile."""
    publish, publisher = await server.publish()
    viewers = await join_many(server, VIEWERS, "viewer")
    hostile = await server.play("hostile")
    await server.close()
    return Room(publish, viewers, publisher), viewers, hostile


def measure(server: WhipWhepServer, rate_per_s: int, seconds: float, passes: int) -> dict[str, Any]:
    room, viewers, hostile = asyncio.run(join_class(server))
    port = hostile.sock.getpeername()[1]
    stream, began_s = bursts(), time.monotonic()
    room.run(stream, began_s, SETTLE_S + 1.5)
    rows: list[dict[str, Any]] = []
    with httpx.Client(timeout=30, trust_env=False) as http:
        # Turn and turn about, so that whatever else this machine does falls on both.
        for flooded in (False, True) * passes:
            for viewer in viewers:
                viewer.reset()
            published, drops, before_s = room.published, kernel_drops(port), cpu_s(server.process)
            sender = None
            if flooded:
                command = [sys.executable, __file__, "--send", str(port), str(rate_per_s), str(seconds)]
                sender = subprocess.Popen(
                    [*command, str(hostile.sock.fileno())],
                    pass_fds=[hostile.sock.fileno()],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                room.run(stream, began_s, 0.5)  # while it prepares what to send; counted like the rest
            room.run(stream, began_s, seconds)
            sent = int(sender.communicate(timeout=30)[0]) if sender is not None else 0
            expected = (room.published - published) * len(viewers)
            room.count(SETTLE_S)
            got = sum(viewer.video + viewer.audio for viewer in viewers)
            rows.append(
                {
                    "flooded": flooded,
                    "garbage": sent,
                    "garbage_per_s": round(sent / seconds),
                    "expected": expected,
                    "got": got,
                    "loss": round(max(0.0, 1 - got / expected), 6),
                    "kernel_drops": kernel_drops(port) - drops,
                    "cpu_s": round(cpu_s(server.process) - before_s, 3),
                }
            )
            began_s += SETTLE_S  # the publisher paused while the stragglers were counted
        headers = {"Authorization": f"Bearer {CONTROL_SECRET}"}
        snapshot = http.get(f"{server.url}/control/snapshot", headers=headers).raise_for_status().json()
        counters = {name: count for name, count in snapshot["router"]["counters"].items() if count}
    room.close()
    hostile.sock.close()
    loss = {key: statistics.median(row["loss"] for row in rows if row["flooded"] is key) for key in (False, True)}
    return {
        "viewers": VIEWERS,
        "rows": rows,
        "loss_without": loss[False],
        "loss_with": loss[True],
        "added_loss": round(loss[True] - loss[False], 6),
        "us_per_garbage_datagram": _cost_us(rows),
        "counters": counters,
    }


def _cost_us(rows: list[dict[str, Any]]) -> float:
    """Server CPU beyond that of a quiet pass, per garbage datagram."""
    quiet = statistics.median(row["cpu_s"] / row["got"] for row in rows if not row["flooded"])
    extra = [(row["cpu_s"] - quiet * row["got"]) / row["garbage"] * 1e6 for row in rows if row["flooded"]]
    return round(statistics.median(extra), 2)


def main() -> None:
    if sys.argv[1:2] == ["--send"]:
        port, rate_per_s, seconds, fd = sys.argv[2:6]
        print(send(int(port), float(rate_per_s), float(seconds), int(fd)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rate", type=int, default=RATE_PER_S)
    parser.add_argument("--seconds", type=float, default=PASS_S)
    parser.add_argument("--passes", type=int, default=PASSES)
    options = parser.parse_args()
    with running_anke() as server:
        found = measure(server, options.rate, options.seconds, options.passes)
    text = json.dumps(found, indent=1)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
