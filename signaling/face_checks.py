"""A face check's way to the judge. The one file that sees all three houses: classroom opens the check, media takes
the frame, proctor keeps it for its job, the job queue carries ids only.

The learner's page cannot choose the picture: the media node asks its encoder for a key frame at a moment only we know
and takes exactly that frame.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

import classroom
from classroom import ClassroomError
from media import MediaError
from proctor import JUDGE_FACE, Outcome, Verdict, put
from signaling.grants import learner_publication_id
from signaling.push import nudge_relays

if TYPE_CHECKING:
    from signaling.context import Context

RECORD_FACE_CHECK = "classroom.record_face_check"
# Frames taken at the same time. A class that enters together must not become a burst of key frames and of jobs.
CONCURRENCY = 2
QUEUE_LENGTH = 500
TAP_DEADLINE_MS = 1500
JOB_EXPIRES_S = 60  # a job older than this has been asked again or given up
BACKOFF_S = 0.3

log = structlog.get_logger(__name__)


class State(StrEnum):
    QUEUED = "queued"
    SENT = "sent"  # the frame waits for the judge
    SETTLED = "settled"  # a verdict was recorded here already: there was no frame to judge
    FAILED = "failed"  # nothing was opened, or a part is away: ask again later
    REFUSED = "refused"  # no consent or no enrolled face: asking again is of no use for now


@dataclass(eq=False)
class Asked:
    """One check on its way; the conductor looks at it from time to time."""

    lesson_id: str
    person_id: str
    plan_index: int | None = None
    asked_by: str | None = None
    fence: int | None = None
    check_id: str | None = None
    template_key: str | None = None
    state: State = State.QUEUED
    outcome: str | None = None
    sent_at_ms: int = 0
    sendings: int = 0


class FaceChecks:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._queue: asyncio.Queue[Asked] = asyncio.Queue(QUEUE_LENGTH)

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def ask(self, asked: Asked) -> Asked:
        """Queues a check; with the queue full it has FAILED at once."""
        try:
            self._queue.put_nowait(asked)
        except asyncio.QueueFull:
            asked.state = State.FAILED
        return asked

    async def demand(self, lesson_id: str, person_id: str, asked_by: str) -> str:
        """A check that a person asked for. Its id at once; raises what the record refuses (no consent, no face)."""
        now_ms = self._context.clock_ms()
        check_id = await classroom.open_face_check(self._context.record, lesson_id, person_id, asked_by, None, now_ms)
        self.ask(Asked(lesson_id, person_id, asked_by=asked_by, check_id=check_id))
        return check_id

    async def run(self) -> None:
        """Takes checks off the queue, a few at a time, for ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            asked = await self._queue.get()
            try:
                await self._take(asked)
            except Exception as error:  # noqa: BLE001  (one check must not stop the others; the conductor asks again)
                asked.state = State.FAILED
                log.warning("face check not sent", person=asked.person_id, check=asked.check_id, reason=repr(error))
                await asyncio.sleep(BACKOFF_S)

    async def _take(self, asked: Asked) -> None:
        context = self._context
        if asked.check_id is None:
            try:
                asked.check_id = await classroom.open_face_check(
                    context.record,
                    asked.lesson_id,
                    asked.person_id,
                    asked.asked_by,
                    asked.plan_index,
                    context.clock_ms(),
                    asked.fence,
                )
            except (classroom.ConsentRequired, classroom.FaceRequired) as error:
                asked.state = State.REFUSED
                log.info("face check refused", person=asked.person_id, code=error.code)
                return
        check_id = asked.check_id
        asked.template_key = await classroom.template_of(context.record, asked.person_id)
        if asked.template_key is None:
            asked.state = State.REFUSED
            return
        publication_id = learner_publication_id(asked.lesson_id, asked.person_id)
        try:
            frame = await context.media.tap(publication_id, TAP_DEADLINE_MS)
        except MediaError as error:
            # A learner without a picture is the learner's affair, a node that is away is ours.
            ours = error.code in ("no_node", "control_refused")
            await self._settle(asked, Verdict(Outcome.NOT_JUDGED if ours else Outcome.NO_FRAME), error.code)
            return
        await put(context.redis, frame_key(check_id), frame.data, frame.codec)
        await classroom.frame_taken(
            context.record,
            check_id,
            hashlib.sha256(frame.data).hexdigest(),
            frame.ssrc,
            frame.rtp_ts,
            frame.arrival_ms,
        )
        await nudge_relays(context)
        await self.send(asked)

    async def send(self, asked: Asked) -> None:
        """Gives the frame to the judge and the verdict to the record. May be repeated: every hop knows the check id."""
        if asked.check_id is None:
            raise ValueError("a check is sent after its frame was taken")
        if asked.template_key is None:
            asked.template_key = await classroom.template_of(self._context.record, asked.person_id)
        jobs = self._context.celery
        # A link and not `judge | record`: a chain is sent by whatever Celery calls the current application.
        await asyncio.to_thread(
            jobs.send_task,
            JUDGE_FACE,
            args=(asked.check_id, frame_key(asked.check_id), asked.template_key),
            link=jobs.signature(RECORD_FACE_CHECK, args=(asked.check_id,)),
            expires=JOB_EXPIRES_S,
            retry=False,  # the broker's client blocks; with Redis away the conductor comes back to it
        )
        asked.sendings += 1
        asked.sent_at_ms = self._context.clock_ms()
        asked.state = State.SENT

    async def _settle(self, asked: Asked, verdict: Verdict, why: str) -> None:
        if asked.check_id is None:
            raise ValueError("only an opened check can be settled")
        log.info("face check without a frame", check=asked.check_id, person=asked.person_id, reason=why)
        try:
            await classroom.record_face_check(self._context.record, asked.check_id, verdict.to_dict())
        except ClassroomError as error:
            log.warning("verdict refused", check=asked.check_id, code=error.code)
            asked.state = State.FAILED
            return
        asked.state, asked.outcome = State.SETTLED, verdict.outcome.value
        await nudge_relays(self._context)


def frame_key(check_id: str) -> str:
    """Where the frame of a check waits; checks are made in the record, so the key tells nothing about the person."""
    return f"frame:{check_id}"
