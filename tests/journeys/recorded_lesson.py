"""A lesson that is recorded while a real encoder lectures, and what can be asked of its recording; shared with the
figures of `tests/bench/recording.py`."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import classroom
from classroom import Record
from media.control import MediaControl
from media.keys import MediaKeys
from media.recording.index import Index
from media.recording.shelf import Shelf
from media.recording.storage import FolderStorage
from media.tokens import Act, mint
from signaling.context import connect_redis, epoch_ms
from signaling.grants import lecture_id, screen_id
from web.demo.process import DemoProcess
from web.parts import open_settings_record
from web.settings import Settings

PASSWORD = "recorded-2026-Aa"
TOKEN_LIFETIME_MS = 3_600_000


@dataclass
class RecordedLesson:
    """One lesson of a running platform. `people`: role → (login, person id)."""

    settings: Settings
    record: Record
    lesson_id: str
    people: dict[str, tuple[str, str]]
    shelf: Shelf

    async def index(self) -> Index:
        try:
            return await self.shelf.index(self.lesson_id)
        except FileNotFoundError:
            return Index()

    async def segments(self) -> int:
        """Whole segments of the lecture."""
        camera = (await self.index()).renditions.get("camera")
        return 0 if camera is None else sum(segment.whole for segment in camera.segments)

    async def state(self) -> dict[str, Any]:
        redis = connect_redis(self.settings.redis)
        try:
            return dict(json.loads(await redis.get(MediaKeys().recording(self.lesson_id)) or "{}"))
        finally:
            await redis.aclose()

    async def recorders(self) -> list[dict[str, Any]]:
        redis = connect_redis(self.settings.redis)
        try:
            keys = [key async for key in redis.scan_iter(MediaKeys().recorder("*"))]
            return [json.loads(value) for value in await redis.mget(keys) if value] if keys else []
        finally:
            await redis.aclose()

    def kill_recorder(self) -> int:
        pid = int((self.settings.run_dir / "recorder.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        return pid

    async def end(self) -> None:
        await classroom.end_lesson(self.record, self.lesson_id, self.people["instructor"][1])

    async def ledger(self, kind: str) -> list[dict[str, Any]]:
        """The lesson's own entries of one kind, newest last."""

        async def look(work: Any) -> list[dict[str, Any]]:
            from classroom.ledger.entries import lesson_chain
            from classroom.store import tables

            lesson = await work.one(tables.lessons, id=self.lesson_id)
            chain = lesson_chain(lesson["class_id"], self.lesson_id)
            rows = await work.many(tables.ledger_entries, "idx", chain=chain, kind=kind)
            return [json.loads(row["body"]) for row in rows]

        return await self.record.read(look)


@asynccontextmanager
async def recorded_lesson(settings: Settings, *, with_screen: bool = False) -> AsyncIterator[RecordedLesson]:
    """A live lesson with a lecture on the air; it is not ended here."""
    record = open_settings_record(settings)
    redis = connect_redis(settings.redis)
    media = MediaControl(redis, settings.keys.control)
    names = {"learner": "张学员", "instructor": "王讲师", "organiser": "赵组织", "proctor": "李监考"}
    tag = secrets.token_hex(3)
    encoders: list[DemoProcess] = []
    try:
        organisation = await classroom.create_organisation(record, "晋城第一煤业", "enterprise")
        people = {}
        for role, name in names.items():
            login = f"r{tag}-{role}"
            people[role] = (login, await classroom.create_person(record, login, PASSWORD, name, {role}, organisation))
        course = await classroom.create_course(record, "矿山安全生产基础", 24.0)
        class_id = await classroom.create_class(record, course, organisation, "录制试验班", "shanxi-2021")
        await classroom.enrol(record, class_id, [people["learner"][1]])
        instructor_id = people["instructor"][1]
        lesson_id = await classroom.create_lesson(record, class_id, "瓦斯检查与通风", instructor_id, epoch_ms(), 1.0)
        await classroom.start_lesson(record, lesson_id, instructor_id)
        node = await media.node()
        for name in [lecture_id(lesson_id), *([screen_id(lesson_id)] if with_screen else [])]:
            token = mint(
                settings.keys.media_token,
                holder=instructor_id,
                seat=f"encoder.{name}",
                room=lesson_id,
                act=Act.PUBLISH,
                id=name,
                now_ms=epoch_ms(),
                lifetime_ms=TOKEN_LIFETIME_MS,
            )
            part = {"url": f"{node.public_url}/whip/{name}", "token": token}
            encoders.append(DemoProcess("web.demo.encoder", part, lambda line: None))
            await encoders[-1].start()
        shelf = Shelf(FolderStorage(settings.recordings_dir))
        yield RecordedLesson(settings, record, lesson_id, people, shelf)
    finally:
        for encoder in encoders:
            await encoder.stop()
        await media.close()
        await redis.aclose()
        await record.close()


async def until(question: Callable[[], Awaitable[Any]], what: str, patience_s: float = 60.0) -> Any:
    """The first true answer."""
    deadline_s = time.monotonic() + patience_s
    while True:
        answer = await question()
        if answer:
            return answer
        if time.monotonic() > deadline_s:
            raise AssertionError(f"did not happen within {patience_s} s: {what}")
        await asyncio.sleep(0.2)


async def sign_in(page: Any, url: str, login: str) -> None:
    """By the API, as the sign-in page does: these pages are about recordings."""
    answer = await page.request.post(f"{url}/api/sign-in", data={"login": login, "password": PASSWORD})
    assert answer.status == 200, await answer.text()


async def plays_on(page: Any, test_id: str, patience_s: float = 30.0) -> dict[str, float]:
    """Waits until the video moves on and pictures are decoded; where it is then."""
    look = """(id) => { const v = document.querySelector(`[data-testid=${id}]`)
      return v ? { at_s: v.currentTime, frames: v.getVideoPlaybackQuality().totalVideoFrames, ends_s: v.duration,
                   ready: v.readyState, height: v.videoHeight } : null }"""
    before = await until(lambda: page.evaluate(look, test_id), f"{test_id} is on the page", patience_s)

    async def moved() -> Any:
        now = await page.evaluate(look, test_id)
        moves = now and now["at_s"] > before["at_s"] + 0.5 and now["frames"] > before["frames"] and now["height"] > 0
        return now if moves else None

    found: dict[str, float] = await until(moved, f"{test_id} plays", patience_s)
    return found


async def seek(page: Any, test_id: str, to_s: float) -> float:
    """Seeks and waits for a picture of that moment; how many ms it took."""
    began_s = time.monotonic()
    await page.evaluate(
        """async ([id, to_s]) => { const v = document.querySelector(`[data-testid=${id}]`)
          const seen = new Promise((done) => v.requestVideoFrameCallback(function look(_, frame) {
            if (Math.abs(frame.mediaTime - to_s) < 3) done(); else v.requestVideoFrameCallback(look) }))
          v.currentTime = to_s; await v.play().catch(() => undefined); await seen }""",
        [test_id, to_s],
    )
    return round((time.monotonic() - began_s) * 1000, 1)
