"""Celery tasks of this house. The composition root hands in the app and how to open the record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from celery import Celery

from classroom.actions.face_checks import record_face_check
from classroom.domain.errors import NotFound, WrongState
from classroom.store.record import Record

RECORD_FACE_CHECK = "classroom.record_face_check"


def register(app: Celery, open_the_record: Callable[[], Record], nudge: Callable[[], None]) -> None:
    """Defines "classroom.record_face_check"(verdict, check_id): the link after "proctor.judge_face" in a chain.

    `nudge` wakes the outbox relay after a verdict has been written. The task may run twice: a check has one verdict.
    """

    @app.task(name=RECORD_FACE_CHECK, acks_late=True, max_retries=5)
    def record_verdict(verdict: dict[str, Any], check_id: str) -> bool:
        async def write() -> bool:
            record = open_the_record()
            try:
                return await record_face_check(record, check_id, verdict)
            finally:
                await record.close()

        try:
            written = asyncio.run(write())
        except (NotFound, WrongState):
            # The lesson is long over or the check is unknown: nothing that a retry could change.
            return False
        nudge()
        return written
