"""The job that carries a verdict into the record: the second half of a face check's chain.

Runs in the worker. Jobs are plain functions there, the record is asynchronous: each worker thread keeps one event
loop, and opens its record in it, after the fork.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog
from redis import Redis
from redis.exceptions import RedisError

import classroom
from classroom import TryAgain
from signaling.face_checks import RECORD_FACE_CHECK
from signaling.push import NUDGE_CHANNEL

if TYPE_CHECKING:
    from celery import Celery

    from classroom import Record

RETRIES = 6
RETRY_S = 1

log = structlog.get_logger(__name__)


class _Loop(threading.local):
    """This thread's event loop and record; made at the first job, so that nothing is shared across a fork."""

    runner: asyncio.Runner | None = None
    record: Record | None = None


def register(jobs: Celery, make_record: Callable[[], Record], redis_url: str, *, prefix: str = "") -> None:
    """Defines `classroom.record_face_check(verdict, check_id)` on the worker's application."""
    local = _Loop()

    def record_verdict(verdict: dict[str, Any], check_id: str) -> bool:
        if local.runner is None or local.record is None:
            local.runner = asyncio.Runner()
            local.record = make_record()
        written = local.runner.run(classroom.record_face_check(local.record, check_id, verdict))
        nudge(redis_url, prefix)
        return written

    @jobs.task(
        name=RECORD_FACE_CHECK,
        autoretry_for=(TryAgain, OSError),
        max_retries=RETRIES,
        default_retry_delay=RETRY_S,
        acks_late=True,
    )
    def record_face_check(verdict: dict[str, Any], check_id: str) -> bool:
        return record_verdict(verdict, check_id)


def nudge(redis_url: str, prefix: str) -> None:
    """Tells the relays that the outbox has something; without Redis they find it at their next poll."""
    try:
        with Redis.from_url(redis_url, socket_timeout=1, socket_connect_timeout=1) as redis:
            redis.publish(prefix + NUDGE_CHANNEL, b"1")
    except (RedisError, OSError) as error:
        log.warning("relay not nudged", reason=str(error))
