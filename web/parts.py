"""What one process is made of: the record, Redis, the way to the media nodes, the job queue. Composed in one place.

Web and worker processes open the same parts from the same settings; nothing else reads settings to connect anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from quart import current_app
from redis.asyncio import Redis

from classroom import Record, open_record
from media.control import MediaControl
from media.recording.shelf import Shelf
from media.recording.storage import FolderStorage
from signaling.context import connect_redis, epoch_ms

if TYPE_CHECKING:
    from celery import Celery

    from web.settings import Settings

EXTENSION = "anke.parts"


@dataclass(frozen=True)
class Parts:
    settings: Settings
    record: Record
    redis: Redis
    media: MediaControl
    jobs: Celery
    shelf: Shelf


def open_settings_record(settings: Settings) -> Record:
    """The record alone, for what needs nothing else."""
    return open_record(settings.database, signing_key=settings.keys.ledger_signing, clock_ms=epoch_ms)


def open_parts(settings: Settings, jobs: Celery) -> Parts:
    """Opens clients, not connections: each connects at its first use and again whenever it must."""
    redis = connect_redis(settings.redis)
    return Parts(
        settings=settings,
        record=open_settings_record(settings),
        redis=redis,
        media=MediaControl(redis, settings.keys.control),
        jobs=jobs,
        shelf=Shelf(FolderStorage(settings.recordings_dir)),
    )


async def close_parts(parts: Parts) -> None:
    await parts.media.close()
    await parts.record.close()
    await parts.redis.aclose()


def current_parts() -> Parts:
    """The parts of the application that serves this request."""
    return cast(Parts, current_app.extensions[EXTENSION])
