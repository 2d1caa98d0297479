"""`anke demo` beside a running platform: one class after another, so that a visitor always finds one in progress."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

import aiohttp
import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError

import classroom
from classroom import ClassroomError, create_lesson
from signaling.context import epoch_ms
from web.demo.cast import CURRENT_LESSON_KEY, INSTRUCTOR, players
from web.demo.chairs import StandingChair
from web.demo.class_run import ArrivalFailed, DemoClass, describe, progress
from web.demo.client import CallRefused
from web.demo.seed import Ground, enrol_faces, seed, write_ground
from web.live import make_context
from web.log import configure_log
from web.parts import Parts, close_parts, open_parts
from web.queue import make_queue
from web.settings import Settings
from web.supervisor import StartRefused, read_health

log = structlog.get_logger(__name__)

TELL_EVERY_S = 15.0
PAUSE_S = 6.0  # between two classes: long enough to read the result, short enough not to leave
RETRY_S = 3.0
START_WITH = 3  # a visitor should not wait for all twelve
HEALTH_PATIENCE_S = 30.0
TITLES = (
    "安全生产法与事故案例",
    "有限空间作业安全",
    "危险源辨识与隐患排查",
    "应急处置与自救互救",
    "职业病防护与劳动用品",
)

ExpectedFailure = (
    ArrivalFailed,
    CallRefused,
    ClassroomError,
    OperationalError,
    RedisError,
    aiohttp.ClientError,
    OSError,
    TimeoutError,
)


async def run_continuous(settings: Settings) -> None:
    """Until SIGTERM. Raises StartRefused when no platform runs at these settings' addresses."""
    configure_log(settings.log_level)
    await _wait_for_platform(settings)
    parts = open_parts(settings, make_queue(settings))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    playing = asyncio.create_task(_play(settings, parts))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({playing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if playing.done():
            playing.result()
    finally:
        stopping.cancel()
        playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await playing
        await parts.redis.delete(CURRENT_LESSON_KEY)
        await close_parts(parts)


async def _wait_for_platform(settings: Settings) -> None:
    deadline_s = time.monotonic() + HEALTH_PATIENCE_S
    while await asyncio.to_thread(read_health, settings) is None:
        if time.monotonic() > deadline_s:
            raise StartRefused(f"no healthy platform at {settings.own_url}: start it with `anke up`")
        await asyncio.sleep(0.5)


async def _play(settings: Settings, parts: Parts) -> None:
    while True:
        try:
            await _play_once(settings, parts)
        except ExpectedFailure as error:
            log.warning("demo class interrupted", reason=f"{type(error).__name__}: {error}")
        except ExceptionGroup as group:
            expected, other = group.split(ExpectedFailure)
            if other is not None:
                raise other from None
            log.warning("demo class interrupted", reason=str(expected.exceptions if expected else group))
        await asyncio.sleep(RETRY_S)


async def _play_once(settings: Settings, parts: Parts) -> None:
    cast = players(settings.demo_learners)
    ground_path = settings.data_dir / "demo.json"
    ground = await seed(parts.record, ground_path, cast)
    for complaint in await enrol_faces(settings.own_url, cast, ground.cohort):
        log.warning("face not enrolled", reason=complaint)
    await _end_leftovers(parts, ground)
    lesson_id = await create_lesson(
        parts.record,
        ground.classes[str(ground.cohort)],
        f"第 {ground.lessons_held + 1} 课 {TITLES[ground.lessons_held % len(TITLES)]}",
        ground.people[INSTRUCTOR.login],
        epoch_ms(),
        1.0,
        settings.clock_factor,
    )
    chair = StandingChair(make_context(parts), parts.record, lesson_id, ground.people[INSTRUCTOR.login])
    demo = DemoClass(settings.own_url, lesson_id, cast, ground.cohort, chair, start_with=START_WITH)
    await parts.redis.set(CURRENT_LESSON_KEY, lesson_id)
    print(f"a class begins: {settings.own_url}", flush=True)
    told_s = 0.0

    def look() -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= TELL_EVERY_S:
            told_s = time.monotonic()
            bar = progress(demo.elapsed_s, demo.planned_s) if demo.began_s else "arriving"
            print(f"{bar} {describe(demo)}", flush=True)

    try:
        await demo.run(look)
    finally:
        ground.lessons_held += 1
        write_ground(ground_path, ground)
    print(f"class {lesson_id} has ended; the next one begins in a moment", flush=True)
    await asyncio.sleep(PAUSE_S)


async def _end_leftovers(parts: Parts, ground: Ground) -> None:
    """Demo lessons that an earlier run left live when it was killed: their learners are gone."""
    for lesson_id in await classroom.live_lessons(parts.record):
        view = await classroom.lesson_view(parts.record, lesson_id)
        if view.class_id in ground.classes.values():
            await classroom.end_lesson(parts.record, lesson_id, None)
