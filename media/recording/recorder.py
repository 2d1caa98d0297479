"""The recorder process: records every lesson it is told is live, one session each, and says how it goes.

What it says is in Redis: `recording:{lesson}` once a second, so that silence is a sign too.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import resource
import secrets
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError

from media.control import MediaControl
from media.dtls import NodeCertificate
from media.keys import MediaKeys
from media.recording.index import INDEX_NAME, BrokenIndex, Index
from media.recording.session import LessonRecording
from media.recording.storage import Storage

logger = logging.getLogger(__name__)

BEAT_S = 1.0
SWEEP_S = 20.0
TAIL_BYTES = 4096  # holds the last line of any index
HTTP_TIMEOUT_S = 5.0
STATE_TTL_S = 30 * 24 * 3600
RECORDER_TTL_S = 10


@dataclass(frozen=True)
class Closed:
    """A recording that is whole: `seal` is the hash of its index, which stands for every byte of it."""

    lesson_id: str
    seal: str
    index: Index


@dataclass(frozen=True)
class RecorderConfig:
    """`wanted` answers the ids of the lessons that are live; it may raise, then what is recorded goes on.

    `on_interrupted(lesson, from_ms, to_ms, reason)` and `on_closed` tell the record; they are tried again until they
    return.
    """

    redis_url: str
    control_secret: str
    token_secret: str
    storage: Storage
    wanted: Callable[[], Awaitable[list[str]]]
    on_interrupted: Callable[[str, int, int, str], Awaitable[None]]
    on_closed: Callable[[Closed], Awaitable[None]]
    redis_prefix: str = ""
    recorder_id: str = field(default_factory=lambda: "r_" + secrets.token_hex(6))


class Recorder:
    def __init__(self, config: RecorderConfig) -> None:
        self._config = config
        self._keys = MediaKeys(config.redis_prefix)
        self._redis = Redis.from_url(config.redis_url, socket_timeout=2.0, socket_connect_timeout=2.0)
        self._http = httpx.AsyncClient(timeout=HTTP_TIMEOUT_S, trust_env=False)
        self._media = MediaControl(self._redis, config.control_secret, prefix=config.redis_prefix)
        self._certificate = NodeCertificate.generateCertificate()
        self._sessions: dict[str, tuple[LessonRecording, asyncio.Task[None]]] = {}
        self._swept: set[str] = set()
        self._untold: list[Callable[[], Awaitable[None]]] = []
        self._began_s = time.monotonic()

    async def run(self, leave: asyncio.Event) -> None:
        """Until `leave` is set; recordings are then left open for the next recorder."""
        next_sweep_s = 0.0
        # By itself: whatever takes long below (a disk, a node that is away), only a dead recorder is silent.
        beating = asyncio.create_task(self._keep_beating(), name="beat")
        while not leave.is_set():
            try:
                wanted = set(await self._config.wanted())
            except Exception as error:  # noqa: BLE001  (whatever the record's driver raises while it is away)
                logger.warning("which lessons are live is not known: %r", error)
            else:
                await self._match(wanted)
                if time.monotonic() >= next_sweep_s:
                    next_sweep_s = time.monotonic() + SWEEP_S
                    await self._sweep(wanted)
            await self._tell()
            try:
                await asyncio.wait_for(leave.wait(), BEAT_S)
            except TimeoutError:
                continue
        for session, task in self._sessions.values():
            session.stop()
            await task
            await session.abandon()
        await self._tell()
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await self._http.aclose()
        await self._media.close()
        await self._redis.aclose()

    async def _match(self, wanted: set[str]) -> None:
        for lesson_id in wanted - self._sessions.keys():
            await self._open(lesson_id)
        for lesson_id in self._sessions.keys() - wanted:
            session, task = self._sessions.pop(lesson_id)
            session.stop()
            await task
            await self._close(session)

    async def _open(self, lesson_id: str) -> LessonRecording | None:
        try:
            session = await self._session(lesson_id)
        except (OSError, BrokenIndex) as error:
            logger.error("%s cannot be recorded: %s", lesson_id, error)
            await self._say(lesson_id, {"state": "failing", "reason": f"{type(error).__name__}: {error}"})
            return None
        if session is None:
            return None
        self._swept.discard(lesson_id)
        if session.writer.resumed:
            hole = session.writer.index.interruptions[-1]
            logger.warning("%s resumed after %d ms", lesson_id, hole.to_ms - hole.from_ms)
            told = functools.partial(self._config.on_interrupted, lesson_id, hole.from_ms, hole.to_ms, hole.reason)
            self._untold.append(told)
        self._sessions[lesson_id] = (session, asyncio.create_task(session.run(), name=f"record {lesson_id}"))
        return session

    async def _session(self, lesson_id: str) -> LessonRecording | None:
        config = self._config
        return await LessonRecording.open(
            config.storage, lesson_id, self._media, config.token_secret, self._certificate, self._http
        )

    async def _close(self, session: LessonRecording) -> None:
        seal = await session.close()
        closed = Closed(session.lesson_id, seal, session.writer.index)
        self._untold.append(lambda: self._config.on_closed(closed))
        self._swept.add(session.lesson_id)
        logger.info("%s is closed: %s", session.lesson_id, json.dumps(asdict(session.figures)))
        await self._say(session.lesson_id, {"state": "ready", **self._sizes(session)})

    async def _sweep(self, wanted: set[str]) -> None:
        """Closes what a dead recorder left of lessons that have ended meanwhile."""
        for lesson_id in set(await asyncio.to_thread(self._config.storage.recordings)) - wanted - self._swept:
            try:
                if not await asyncio.to_thread(self._is_closed, lesson_id):
                    session = await self._session(lesson_id)
                    if session is None:
                        continue  # another recorder has it
                    await self._close(session)
            except (OSError, BrokenIndex) as error:
                logger.warning("%s is no recording: %s", lesson_id, error)
            self._swept.add(lesson_id)

    def _is_closed(self, lesson_id: str) -> bool:
        """By the index's last line alone: there may be years of recordings. OSError when there is no index."""
        storage = self._config.storage
        size = storage.size(lesson_id, INDEX_NAME)
        tail = storage.read(lesson_id, INDEX_NAME, max(0, size - TAIL_BYTES))
        return tail.endswith(b"\n") and tail.splitlines()[-1].startswith(b'{"what":"closed"')

    async def _tell(self) -> None:
        for told in list(self._untold):
            try:
                await told()
            except Exception as error:  # noqa: BLE001  (tried again; the recording itself does not depend on it)
                logger.warning("the record was not told: %r", error)
                return
            self._untold.remove(told)

    def _sizes(self, session: LessonRecording) -> dict[str, object]:
        index = session.writer.index
        segments = sum(len(rendition.segments) for rendition in index.renditions.values())
        return {"bytes": index.size(), "segments": segments, "ends_ms": index.ends_ms()}

    async def _keep_beating(self) -> None:
        while True:
            await self._beat()
            await asyncio.sleep(BEAT_S)

    async def _beat(self) -> None:
        for lesson_id, (session, _) in list(self._sessions.items()):
            state, reason = session.state()
            figures = asdict(session.figures)
            await self._say(lesson_id, {"state": state, "reason": reason, **self._sizes(session), "figures": figures})
        usage = resource.getrusage(resource.RUSAGE_SELF)
        told = {
            "recorder_id": self._config.recorder_id,
            "lessons": sorted(self._sessions),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            "up_s": round(time.monotonic() - self._began_s, 1),
            "rss_kib": usage.ru_maxrss,
        }
        await self._set(self._keys.recorder(self._config.recorder_id), told, RECORDER_TTL_S)

    async def _say(self, lesson_id: str, state: dict[str, object]) -> None:
        told = {**state, "recorder_id": self._config.recorder_id, "at_ms": time.time_ns() // 1_000_000}
        await self._set(self._keys.recording(lesson_id), told, STATE_TTL_S)

    async def _set(self, key: str, value: dict[str, object], ttl_s: int) -> None:
        try:
            await self._redis.set(key, json.dumps(value), ex=ttl_s)
        except (RedisError, OSError) as error:
            # Whoever misses the beat raises the alarm; the recording itself goes on.
            logger.warning("%s not told: %s", key, error)


async def run_recorder(config: RecorderConfig) -> None:
    """Runs one recorder until SIGTERM or SIGINT."""
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    await Recorder(config).run(leave)
