"""`anke recorder`: told by the record which lessons are live, it tells the record how their recording went."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import structlog

from classroom import (
    NOTICE,
    ClassroomError,
    Record,
    close_recording,
    live_lessons,
    note_recording_interrupted,
    timeline_of,
)
from media.recording.index import TIMELINE_NAME
from media.recording.recorder import Closed, RecorderConfig, run_recorder
from media.recording.storage import FolderStorage, Storage
from signaling.context import connect_redis
from signaling.event_log import EventLog
from web.log import configure_log
from web.parts import open_settings_record
from web.settings import Settings

log = structlog.get_logger(__name__)


def run_recorder_role(settings: Settings, ready: Callable[[], None] | None = None) -> None:
    """Records until SIGTERM; `ready` as in `run_web`."""
    configure_log(settings.log_level)
    if ready is not None:
        ready()
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    record = open_settings_record(settings)
    redis = connect_redis(settings.redis)
    event_log = EventLog(redis)
    storage = FolderStorage(settings.recordings_dir)

    async def wanted() -> list[str]:
        return await live_lessons(record)

    async def interrupted(lesson_id: str, from_ms: int, to_ms: int, reason: str) -> None:
        await _unless_gone(note_recording_interrupted(record, lesson_id, from_ms, to_ms, reason))

    async def closed(recording: Closed) -> None:
        index = recording.index
        segments = sum(len(rendition.segments) for rendition in index.renditions.values())
        await write_timeline(record, event_log, storage, recording.lesson_id)
        await _unless_gone(
            close_recording(record, recording.lesson_id, recording.seal, index.size(), segments, index.ends_ms())
        )

    try:
        await run_recorder(
            RecorderConfig(
                redis_url=settings.redis,
                control_secret=settings.keys.control,
                token_secret=settings.keys.media_token,
                storage=storage,
                wanted=wanted,
                on_interrupted=interrupted,
                on_closed=closed,
            )
        )
    finally:
        await redis.aclose()
        await record.close()


async def _unless_gone(told: Any) -> None:
    """A lesson that the record does not know (a database that was put back) must not be told of for ever."""
    try:
        await told
    except ClassroomError as error:
        log.warning("the record refused", code=error.code)


async def write_timeline(record: Record, event_log: EventLog, storage: Storage, lesson_id: str) -> None:
    """The class's events beside its segments: the recording can be understood without the database."""
    marks: list[dict[str, Any]] = [asdict(mark) for mark in await timeline_of(record, lesson_id, "", staff=True)]
    # Notices live in the lesson's event log only, which is kept for days: here they stay.
    for envelope in await event_log.since(lesson_id, 0):
        if envelope.type == "notice.posted" and envelope.to == "all":
            said = {"who": envelope.data["from_name"], "text": envelope.data["text"], "detail": ""}
            marks.append({"at_ms": envelope.at_ms, "kind": NOTICE, **said})
    marks.sort(key=lambda mark: int(mark["at_ms"]))
    data = json.dumps({"lesson": lesson_id, "marks": marks}, ensure_ascii=False).encode()

    def write() -> None:
        try:
            storage.cut(lesson_id, TIMELINE_NAME, 0)
        except FileNotFoundError:
            log.debug("first timeline", lesson=lesson_id)
        storage.append(lesson_id, TIMELINE_NAME, data)
        storage.seal(lesson_id, TIMELINE_NAME)

    await asyncio.to_thread(write)
