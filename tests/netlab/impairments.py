"""The impairment matrix: a real browser watches a class through every bad line, cell by cell.

    make impairments                                        # build/impairments.json, .md, .svg
    python tests/netlab/impairments.py --only loss=0.1,rtt=100 --out build/impairments.json

One Chromium publishes a film and a voice (VP8 in three simulcast layers, Opus with FEC) over a clean line. Viewers are
Chromiums in namespaces of their own, several cells at a time. Each joins over a clean line, then its line turns bad in
both directions, the class settles, and for some seconds its own statistics say what arrived:

* freeze ratio: the larger of what the browser calls frozen (totalFreezesDuration) and the share of half seconds in
  which no frame was decoded (so that a freeze that has not ended counts, and no picture at all is 1);
* picture: the height that was there most often, 0 when there was one in less than a tenth of the half seconds;
* audio gap: the share of sound samples the browser had to make up (concealed, the silent ones included); audio is
  *there* when packets came and less than half was made up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import wave
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from redis.asyncio import Redis  # noqa: E402

from media.control import MediaControl  # noqa: E402
from media.tokens import SlotClaim  # noqa: E402
from tests.netlab.heatmap import heat_map, markdown  # noqa: E402
from tests.netlab.network import Host, Line, Network, unavailable  # noqa: E402
from tests.netlab.running import CONTROL_SECRET, NodeInside, chromium, start_media_node, start_redis  # noqa: E402

LOSSES = (0.0, 0.02, 0.10, 0.20)
RTTS_MS = (20, 100, 300)
RATES_BPS = (100_000, 300_000, 1_000_000, None)
# What a cheap router holds before it drops.
QUEUE_MS = 300
FPS = 12
FILM_S = 8
SIZE = (1280, 720)
LAYERS = [
    {"rid": "q", "scaleResolutionDownBy": 4, "maxBitrate": 120_000, "maxFramerate": FPS},
    {"rid": "h", "scaleResolutionDownBy": 2, "maxBitrate": 400_000, "maxFramerate": FPS},
    {"rid": "f", "scaleResolutionDownBy": 1, "maxBitrate": 1_200_000, "maxFramerate": FPS},
]
PAGE_SCRIPT = Path(__file__).with_name("lesson_page.js")
PUBLICATION = "lesson.lecture"
CLEAN = Line()
# A step that takes longer than this will not end: the browser is stuck.
STEP_TIMEOUT_S = 90


@dataclass(frozen=True)
class Cell:
    loss: float
    rtt_ms: int
    rate_bps: int | None

    @property
    def line(self) -> Line:
        """Of each direction."""
        return Line(loss=self.loss, delay_ms=self.rtt_ms / 2, rate_bps=self.rate_bps, queue_ms=QUEUE_MS)


@dataclass(frozen=True)
class Measured:
    loss: float
    rtt_ms: int
    rate_bps: int | None
    freeze_ratio: float
    height_px: int
    fps: float
    video_bps: int
    audio_gap: float
    audio_there: bool
    audio_bps: int
    gaps: int
    freezes: int
    plis: int
    why: list[str]  # of the picture's slot, as the node says at the end
    layer: int | None
    estimate_bps: int | None
    rtt_seen_ms: float | None
    loss_seen: float | None


def all_cells() -> list[Cell]:
    return [Cell(*values) for values in product(LOSSES, RTTS_MS, RATES_BPS)]


def measured(cell: Cell, seen: dict[str, Any], viewer: dict[str, Any] | None) -> Measured:
    """A cell's figures from the browser's counters (`measure.watch`) and the node's overview of that viewer."""
    ticks: list[int] = seen["heights"]
    pictures = [height for height in ticks if height]
    without = 1 - len(pictures) / max(1, len(ticks))
    gap = seen["concealed"] / seen["samples"] if seen["samples"] else 1.0
    slot = next((slot for slot in viewer["slots"] if slot["kind"] == "video"), None) if viewer is not None else None
    return Measured(
        **asdict(cell),
        freeze_ratio=round(min(1.0, max(without, seen["frozen_s"] / seen["seconds"])), 3),
        height_px=statistics.mode(pictures) if len(pictures) > len(ticks) / 10 else 0,
        fps=round(seen["frames"] / seen["seconds"], 1),
        video_bps=round(seen["video_bytes"] * 8 / seen["seconds"]),
        audio_gap=round(min(1.0, gap), 4),
        audio_there=seen["audio_packets"] > 0 and gap < 0.5,
        audio_bps=round(seen["audio_bytes"] * 8 / seen["seconds"]),
        gaps=seen["gaps"],
        freezes=seen["freezes"],
        plis=seen["plis"],
        why=slot["why"] if slot is not None else [],
        layer=slot["layer"] if slot is not None else None,
        estimate_bps=viewer["estimate_bps"] if viewer is not None else None,
        rtt_seen_ms=viewer["rtt_ms"] if viewer is not None else None,
        loss_seen=viewer["loss"] if viewer is not None else None,
    )


def write_footage(folder: Path) -> tuple[Path, Path]:
    """A film (.y4m) and a voice (.wav) that Chromium's fake devices repeat for ever."""
    from web.demo.lecture_footage import SAMPLE_RATE_HZ, lecture_pictures, lecture_sound

    film, voice = folder / "film.y4m", folder / "voice.wav"
    with film.open("wb") as out:
        out.write(f"YUV4MPEG2 W{SIZE[0]} H{SIZE[1]} F{FPS}:1 Ip A1:1 C420jpeg\n".encode())
        for picture in islice(lecture_pictures(SIZE, FPS), FILM_S * FPS):
            out.write(b"FRAME\n" + picture.tobytes())
    with wave.open(str(voice), "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE_HZ)
        for piece in islice(lecture_sound(), 12 * 50):
            sound.writeframes(piece.tobytes())
    return film, voice


class Class:
    """A running class: node, publisher, and viewers behind lines that can be made bad. An async context manager."""

    def __init__(self, viewers: int) -> None:
        self._count = viewers
        self._stack = AsyncExitStack()
        self.viewers: list[tuple[Host, Any]] = []

    async def __aenter__(self) -> Class:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="anke-lab-film-")))
        film, voice = await asyncio.to_thread(write_footage, folder)
        network = self._stack.enter_context(Network())
        server, teacher = network.host("server"), network.host("teacher")
        redis_url = start_redis(server)
        self.node: NodeInside = await asyncio.to_thread(start_media_node, server, redis_url)
        redis = Redis.from_url(redis_url)
        self._stack.push_async_callback(redis.aclose)
        self.control = MediaControl(redis, CONTROL_SECRET, prefix=self.node.prefix)
        self._stack.push_async_callback(self.control.close)
        address = f"{self.node.url}/healthz"
        arguments = (f"--use-file-for-fake-video-capture={film}", f"--use-file-for-fake-audio-capture={voice}")
        self.publisher = await self._stack.enter_async_context(
            chromium(teacher, address, arguments=arguments, script=PAGE_SCRIPT)
        )
        await self.publisher.evaluate(
            "([url, token, layers]) => window.measure.publish(url, token, layers)",
            [f"{self.node.url}/whip/{PUBLICATION}", self.node.token("publish", PUBLICATION), LAYERS],
        )
        for number in range(self._count):
            host = network.host(f"viewer{number}", delayable=True)
            page = await self._stack.enter_async_context(chromium(host, address, script=PAGE_SCRIPT))
            self.viewers.append((host, page))
        # A browser opens its upper layers one by one as its estimate of the way out grows.
        await self._until(self._all_layers, "three layers are sent")

    async def _all_layers(self) -> bool:
        sent = await self.publisher.evaluate("() => window.measure.sent()")
        return sum(layer["frames"] > 5 for layer in sent.values()) == len(LAYERS)

    async def _until(self, check: Any, what: str) -> None:
        deadline_s = time.monotonic() + STEP_TIMEOUT_S
        while not await check():
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"not within {STEP_TIMEOUT_S} s: {what}\n{self.node.log[-3000:]}")
            await asyncio.sleep(0.2)

    async def measure(self, cells: list[Cell], settle_s: float, measure_s: float) -> list[Measured]:
        """One cell for each viewer, at the same time. At most as many cells as there are viewers."""
        return list(
            await asyncio.gather(
                *(self._measure(at, cell, settle_s, measure_s) for at, cell in enumerate(cells)),
            )
        )

    async def _measure(self, at: int, cell: Cell, settle_s: float, measure_s: float) -> Measured:
        host, page = self.viewers[at]
        name = f"lesson.viewer{at}"
        await asyncio.to_thread(_impair, host, CLEAN)
        slots = [SlotClaim("audio", "audio", PUBLICATION), SlotClaim("camera", "video", PUBLICATION)]
        await page.evaluate(
            "([url, token]) => window.measure.play(url, token)",
            [f"{self.node.url}/whep/{name}", self.node.token("play", name, slots, holder=f"p_{at}", seat=f"s_{at}")],
        )

        async def shown() -> bool:
            return bool(await page.evaluate("() => window.measure.decoded()") > FPS)

        await self._until(shown, f"viewer {at} sees a picture over its clean line")
        await asyncio.to_thread(_impair, host, cell.line)
        await asyncio.sleep(settle_s)
        seen = await page.evaluate("(seconds) => window.measure.watch(seconds)", measure_s)
        (overview,) = (await self.control.overview()).values()
        viewer = next((item for item in overview["subscriptions"] if item["id"] == name), None)
        return measured(cell, seen, viewer)


def _impair(host: Host, line: Line) -> None:
    host.impair(down=line, up=line)


async def run(cells: list[Cell], viewers: int, settle_s: float, measure_s: float) -> list[Measured]:
    """Every cell in batches. Worst lines first, mixed with good ones, so that the viewers' work is even."""
    results: list[Measured] = []
    order = sorted(cells, key=lambda cell: cells.index(cell) % max(1, len(cells) // viewers))
    async with Class(min(viewers, len(cells))) as running:
        for begin in range(0, len(order), viewers):
            batch = order[begin : begin + viewers]
            found = await running.measure(batch, settle_s, measure_s)
            for one in found:
                print(_line(one), flush=True)
            results += found
    return sorted(results, key=lambda one: cells.index(Cell(one.loss, one.rtt_ms, one.rate_bps)))


def _line(one: Measured) -> str:
    rate = "unlimited" if one.rate_bps is None else f"{one.rate_bps // 1000} kbit/s"
    return (
        f"loss {one.loss:4.0%} rtt {one.rtt_ms:3} ms {rate:>11}: picture {one.height_px:3}p {one.fps:4.1f} fps "
        f"frozen {one.freeze_ratio:4.0%}  sound gaps {one.audio_gap:5.1%}{'' if one.audio_there else ' NO SOUND'}  "
        f"{one.video_bps // 1000} kbit/s, estimate {one.estimate_bps} {','.join(one.why)}"
    )


def _wanted(cell: Cell, only: str) -> bool:
    conditions = dict(part.split("=") for part in only.split(",") if part)
    values = {"loss": cell.loss, "rtt": cell.rtt_ms, "rate": cell.rate_bps or 0}
    return all(float(values[name]) == float(value) for name, value in conditions.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "impairments.json")
    parser.add_argument("--viewers", type=int, default=6, help="cells at the same time")
    parser.add_argument("--settle", type=float, default=15.0, help="seconds from the line turning bad to measuring")
    parser.add_argument("--measure", type=float, default=12.0)
    parser.add_argument("--only", default="", help="e.g. loss=0.1,rtt=100,rate=300000 (rate=0 is unlimited)")
    options = parser.parse_args()
    reason = unavailable()
    if reason is not None:
        print(f"impairments: {reason}", file=sys.stderr)
        return 2
    cells = [cell for cell in all_cells() if _wanted(cell, options.only)]
    began_s = time.monotonic()
    found = asyncio.run(run(cells, options.viewers, options.settle, options.measure))
    took_s = round(time.monotonic() - began_s)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "viewer": "Chromium, headless",
        "publisher": f"Chromium, VP8 simulcast {[layer['maxBitrate'] for layer in LAYERS]} bit/s, Opus with FEC",
        "settle_s": options.settle,
        "measure_s": options.measure,
        "queue_ms": QUEUE_MS,
        "took_s": took_s,
        # Of the last five minutes, this run included: above the CPUs there are, pictures froze for want of them.
        "load_average": round(os.getloadavg()[1], 1),
        "cpus": os.cpu_count(),
    }
    document = {"facts": facts, "cells": [asdict(one) for one in found]}
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(markdown(document["cells"]))
    options.out.with_suffix(".svg").write_text(heat_map(document["cells"]))
    silent = [one for one in found if not one.audio_there]
    print(f"impairments: {len(found)} cells in {took_s} s, {len(silent)} without sound; {options.out}")
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
