"""Enrolment across the houses: pictures to a worker, a sealed template back, its key into the record."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any

import structlog

import proctor
from classroom import ClassroomError, record_template
from web.face_templates import template_box
from web.parts import Parts

log = structlog.get_logger(__name__)

PATIENCE_S = 20.0
POLL_S = 0.1
SHOTS_TTL_S = 60  # pictures wait for the worker no longer than the visitor does, with room for a restart


class EnrolmentTimeout(RuntimeError):
    """No worker answered in time; the pictures expire by themselves."""


@dataclass(frozen=True)
class EnrolmentOutcome:
    enrolled: bool
    problems: list[str | None]  # one per shot; None where it is good


async def enrol_face(parts: Parts, person_id: str, shots: list[bytes]) -> EnrolmentOutcome:
    """Raises EnrolmentTimeout when no worker answers within 20 s; ConsentRequired when consent went meanwhile,
    WrongState while a class that has checked the present face is running."""
    attempt = secrets.token_hex(8)
    keys = [f"shot:{attempt}:{number}" for number in range(len(shots))]
    for key, shot in zip(keys, shots, strict=True):
        await proctor.put(parts.redis, key, shot, "jpeg", SHOTS_TTL_S)
    # The subject is this attempt, not the person: the proctor house needs no one's identity to make a template.
    sent = await asyncio.to_thread(
        parts.jobs.send_task, proctor.ENROL_FACE, args=[attempt, keys], expires=PATIENCE_S, retry=True
    )
    answer = await _answer(parts, sent.id)
    shots_judged: list[dict[str, Any]] = answer["shots"]
    if answer["enrolled"]:
        try:
            replaced = await record_template(
                parts.record, person_id, answer["template_key"], answer["model"], len(shots_judged)
            )
        except ClassroomError:
            template_box(parts).delete(answer["template_key"])  # nobody's: it must not outlive the refusal
            raise
        if replaced and replaced != answer["template_key"]:
            template_box(parts).delete(replaced)
    return EnrolmentOutcome(answer["enrolled"], [shot["problem"] for shot in shots_judged])


async def _answer(parts: Parts, task_id: str) -> dict[str, Any]:
    """Celery's own waiting shares one connection between threads; its result is one Redis key, so that is read."""
    key = parts.jobs.backend.get_key_for_task(task_id)
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while asyncio.get_running_loop().time() < deadline:
        stored = await parts.redis.get(key)
        if stored is not None:
            meta = parts.jobs.backend.decode_result(stored)
            if meta["status"] == "SUCCESS":
                result: dict[str, Any] = meta["result"]
                return result
            if meta["status"] in ("FAILURE", "REVOKED"):
                log.error("enrolment failed", task=task_id, status=meta["status"], reason=str(meta["result"]))
                raise EnrolmentTimeout(meta["status"])
        await asyncio.sleep(POLL_S)
    raise EnrolmentTimeout("no answer")
