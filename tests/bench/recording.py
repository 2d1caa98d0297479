"""Shows 7: a lesson recorded, its recorder killed mid-way, played back in Chromium with seeking; figures as JSON.

`.venv/bin/python tests/bench/recording.py --minutes 10 --out build/recording.json` starts a platform of its own,
lectures with a real encoder (640x360 H.264 at 350 kbit/s and Opus at 32 kbit/s), kills the recorder with SIGKILL half
way, ends the lesson, and plays the recording as staff do. Exits 0 only if all of it held.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "journeys"))

from playwright.async_api import async_playwright
from recorded_lesson import RecordedLesson, plays_on, recorded_lesson, seek, sign_in, until

from web.demo.headless import own_settings
from web.log import configure_log
from web.settings import Settings
from web.supervisor import Supervisor, line_printer

CHROMIUM = "/usr/bin/chromium"
READY_WITHIN_S = 60.0


async def record(lesson: RecordedLesson, minutes: float) -> dict[str, Any]:
    """Lets the lesson run, kills the recorder half way; what the recorders used."""
    await until(lesson.segments, "a first segment")
    began_s = time.monotonic()
    cpu_s, up_s, worst_ms = 0.0, 0.0, 0.0

    async def used() -> tuple[float, float, float]:
        told = [item for item in await lesson.recorders() if lesson.lesson_id in item["lessons"]]
        figures = (await lesson.state()).get("figures", {})
        if not told:
            return 0.0, 0.0, 0.0
        return told[-1]["cpu_s"], told[-1]["up_s"], figures.get("write_ms_worst", 0.0)

    await asyncio.sleep(max(0.0, minutes * 30 - (time.monotonic() - began_s)))
    first = await used()
    lesson.kill_recorder()
    killed_s = time.monotonic()

    async def resumed() -> bool:
        return len((await lesson.index()).renditions["camera"].runs) > 1

    await until(resumed, "the recorder resumes")
    resumed_after_s = time.monotonic() - killed_s
    await asyncio.sleep(max(0.0, minutes * 60 - (time.monotonic() - began_s)))
    second = await used()
    cpu_s, up_s = first[0] + second[0], first[1] + second[1]
    worst_ms = max(first[2], second[2])
    return {
        "recorder_cpu_s": round(cpu_s, 2),
        "recorder_cpu_share": round(cpu_s / up_s, 4) if up_s else None,
        "resumed_after_s": round(resumed_after_s, 2),
        "write_ms_worst": round(worst_ms, 1),
        "rss_kib": max(item["rss_kib"] for item in await lesson.recorders()),
    }


async def play(lesson: RecordedLesson, url: str, picture: Path | None) -> dict[str, Any]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        try:
            page = await browser.new_page(viewport={"width": 1440, "height": 900}, locale="zh-CN")
            await page.goto(f"{url}/sign-in")
            await sign_in(page, url, lesson.people["organiser"][0])
            opened_s = time.monotonic()
            await page.goto(f"{url}/lessons/{lesson.lesson_id}/replay")
            facts = await plays_on(page, "replay-video")
            first_picture_ms = round((time.monotonic() - opened_s) * 1000, 1)
            seeks = {}
            for share in (0.9, 0.1, 0.5, 0.75, 0.25):
                to_s = round(facts["ends_s"] * share, 1)
                seeks[f"{to_s:.1f}"] = await seek(page, "replay-video", to_s)
                await plays_on(page, "replay-video")
            if picture is not None:
                await page.screenshot(path=str(picture))
            return {"plays_s": round(facts["ends_s"], 1), "first_picture_ms": first_picture_ms, "seek_ms": seeks}
        finally:
            await browser.close()


async def run(minutes: float, out: Path | None) -> dict[str, Any]:
    configure_log("warning")
    data_dir = Path(tempfile.mkdtemp(prefix="anke-recording-"))
    settings = own_settings(Settings(), data_dir, 4.0, 3)
    report: dict[str, Any] = {"minutes": minutes}
    try:
        with (data_dir / "platform.log").open("w") as log:
            supervisor = Supervisor(settings, line_printer(log))
            await supervisor.start()
            try:
                async with recorded_lesson(settings) as lesson:
                    report |= await record(lesson, minutes)
                    ended_s = time.monotonic()
                    await lesson.end()

                    async def closed() -> bool:
                        return (await lesson.index()).closed_at_ms is not None

                    await until(closed, "the recording is closed", READY_WITHIN_S)
                    report["ready_after_end_s"] = round(time.monotonic() - ended_s, 2)
                    index = await lesson.index()
                    camera = index.renditions["camera"]
                    recorded_s = sum(segment.duration_ms for segment in camera.segments) / 1000
                    report |= {
                        "segments": len(camera.segments),
                        "runs": len(camera.runs),
                        "salvaged_segments": sum(segment.salvaged for segment in camera.segments),
                        "recorded_s": round(recorded_s, 1),
                        "missing_s": [round((hole.to_ms - hole.from_ms) / 1000, 2) for hole in index.interruptions],
                        "lost_packets": sum(segment.lost for segment in camera.segments),
                        "bytes": index.size(),
                        "bytes_per_minute": round(index.size() / recorded_s * 60),
                    }
                    report |= await play(lesson, settings.own_url, out.with_suffix(".png") if out else None)
            finally:
                await supervisor.stop()
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    report["ok"] = (
        report["runs"] == 2
        and report["ready_after_end_s"] <= READY_WITHIN_S
        and abs(report["plays_s"] - report["recorded_s"]) < 2
    )
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
    report = asyncio.run(run(arguments.minutes, arguments.out))
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
