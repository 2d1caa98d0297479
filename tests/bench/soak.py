"""What a long class leaves behind: memory and descriptors, of the core alone and of a whole media node.

`python tests/bench/soak.py --out build/soak.json`. An hour of stream time through the sans-IO core with its layer
switches (`media/router/examples/soak`), then real joins and leaves at a media node while a lecture is published. The
exit code says whether both stayed level.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from light_peers import LightPeer, Room
from servers import CONTROL_SECRET, Publish, WhipWhepServer, cpu_s, running_anke
from stream import bursts

MANIFEST = Path(__file__).parents[2] / "media" / "router" / "Cargo.toml"
# The node's heap takes its shape in the first thousand joins.
WARM_UP, JOINS = 1000, 500
SAMPLE_EVERY = 10
DESCRIPTORS_CHECKS, DESCRIPTORS_INTERVAL_S = 150, 0.1
# What one join may leave behind. A leaked TLS connection alone is more than 100 kB; allocators keep some pages.
MAX_LEFT_BYTES = 1024


@contextmanager
def lecturing(publish: Publish, publisher: LightPeer | None) -> Iterator[Room]:
    """The lecture goes on in a thread, with nobody of ours to count what arrives."""
    room, ended = Room(publish, [], publisher), threading.Event()

    def lecture() -> None:
        stream = itertools.takewhile(lambda _: not ended.is_set(), bursts())
        with suppress(StopIteration):
            room.run(stream, time.monotonic(), math.inf)

    thread = threading.Thread(target=lecture)
    thread.start()
    try:
        yield room
    finally:
        ended.set()
        thread.join()
        room.close()


async def join_and_leave(server: WhipWhepServer, warm_up: int, joins: int, max_left_bytes: int) -> dict[str, Any]:
    """One after the other; what is left behind is counted from the end of the warm-up."""
    process = server.process
    with lecturing(*await server.publish()) as room:
        for number in range(warm_up):
            await server.leave(await server.play(f"early{number}"))
        before = process.memory_info().rss, process.num_fds()
        began_s, before_cpu_s = time.monotonic(), cpu_s(process)
        rss_kib = [(0, before[0] // 1024)]
        for number in range(joins):
            await server.leave(await server.play(f"viewer{number}"))
            if (number + 1) % SAMPLE_EVERY == 0:
                rss_kib.append((number + 1, process.memory_info().rss // 1024))
        took = time.monotonic() - began_s, cpu_s(process) - before_cpu_s
        descriptors = await settled_descriptors(process, before[1])
        snapshot = await snapshot_of(server)
        published = room.published
    await server.close()
    router, sessions = snapshot["router"], snapshot["sessions"]
    return {
        "joins": joins,
        "warm_up": warm_up,
        "published": published,
        "rss_before_kib": before[0] // 1024,
        "rss_after_kib": rss_kib[-1][1],
        "left_bytes_per_join": round((rss_kib[-1][1] - rss_kib[0][1]) * 1024 / joins),
        "max_left_bytes_per_join": max_left_bytes,
        "descriptors_before": before[1],
        "descriptors_after": descriptors,
        # The publisher's own is the one that stays.
        "transports_left": len(router["transports"]) - 1,
        "slots_left": len(router["slots"]),
        "subscriptions_left": len(sessions["subscriptions"]),
        "waiting_left": len(sessions["waiting_sources"]),
        "wall_s": round(took[0], 1),
        "cpu_s": round(took[1], 1),
        "rss_kib": rss_kib,
    }


async def settled_descriptors(process: psutil.Process, before: int) -> int:
    """Open descriptors once there are no more than before, or when it has been waited for that long enough."""
    for _ in range(DESCRIPTORS_CHECKS):
        if process.num_fds() <= before:
            break
        await asyncio.sleep(DESCRIPTORS_INTERVAL_S)
    return process.num_fds()


async def snapshot_of(server: WhipWhepServer) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {CONTROL_SECRET}"}
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        answer = await http.get(f"{server.url}/control/snapshot", headers=headers)
    snapshot: dict[str, Any] = answer.raise_for_status().json()
    return snapshot


def faults(found: dict[str, Any]) -> list[str]:
    left = ("transports_left", "slots_left", "subscriptions_left", "waiting_left")
    named = [name for name in left if found[name]]
    if found["left_bytes_per_join"] > found["max_left_bytes_per_join"]:
        named.append("memory grows")
    # One more may be a connection that is just being made.
    if found["descriptors_after"] > found["descriptors_before"] + 1:
        named.append("descriptors stay open")
    return named


def core_soak(arguments: list[str]) -> dict[str, Any]:
    """The Rust program's own figures and judgement."""
    cargo = ["cargo", "run", "--quiet", "--release", "--manifest-path", str(MANIFEST), "--example", "soak", "--"]
    done = subprocess.run([*cargo, *arguments], stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        raise RuntimeError(f"the core's soak ended with {done.returncode} and no figures")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--joins", type=int, default=JOINS)
    parser.add_argument("--warm-up", type=int, default=WARM_UP)
    parser.add_argument("--max-left-bytes", type=int, default=MAX_LEFT_BYTES, help="per join")
    parser.add_argument("--no-core", action="store_true", help="only the media node")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    if not options.no_core:
        found["core"] = core_soak([])
    with running_anke() as server:
        found["node"] = asyncio.run(join_and_leave(server, options.warm_up, options.joins, options.max_left_bytes))
    found["node"]["faults"] = faults(found["node"])
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found) + "\n")
    shown = {part: {name: value for name, value in of.items() if name != "rss_kib"} for part, of in found.items()}
    print(json.dumps(shown, indent=1))
    return int(any(of["faults"] for of in found.values()))


if __name__ == "__main__":
    sys.exit(main())
