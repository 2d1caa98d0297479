"""The conductor of one live lesson: opens pings and looks at faces by plan, samples media, holds quizzes, ends it.

One node conducts a lesson under a lease; each write carries the lease's fencing token, so one that was frozen and
comes back writes nothing. All that matters is in the record: another conductor goes on from there, and the time in
which nobody conducted is written down as the server's fault, never a learner's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

import classroom
from classroom import FACE, PING, StaleFence, WrongState
from signaling.closing import Closing, asked_to_close, closing_key
from signaling.lease import LEASE_RENEW_S, Lease
from signaling.looks import Looks
from signaling.media_watch import SAMPLE_S, MediaWatch
from signaling.plan_execution import Watch, first_index, ping_due
from signaling.push import nudge_relays
from signaling.recording_watch import RecordingWatch
from signaling.upkeep import wait_for_event

if TYPE_CHECKING:
    from classroom import LessonPlan, LessonView
    from signaling.context import Context
    from signaling.event_log import EventLog
    from signaling.face_checks import FaceChecks
    from signaling.presence import Presence, Sitting

TICK_S = 0.25
ROSTER_S = 2.0  # how often enrolment, consent and presence are read again
# A pause longer than this between two rounds is a fault of the server's.
GAP_MS = 3000

log = structlog.get_logger(__name__)


class Conductor:
    """Conducts while its lease is held. `lesson` and `plan` are as they were at the start of the lesson."""

    def __init__(
        self,
        context: Context,
        lesson: LessonView,
        plan: LessonPlan,
        lease: Lease,
        presence: Presence,
        face_checks: FaceChecks,
        event_log: EventLog,
    ) -> None:
        if lease.fence is None:
            raise ValueError("a conductor needs a held lease")
        self.context = context
        self.lesson = lesson
        self.plan = plan
        self.fence = lease.fence
        self.event_log = event_log
        self.watches: dict[str, Watch] = {}
        self.looks = Looks(context, plan, self.fence, face_checks, self.watches)
        self.ended = False
        self.open_pings: dict[str, tuple[str, int]] = {}  # ping id → person, closes_at_ms
        self.media = MediaWatch(context, lesson, self.fence)
        self.recording = RecordingWatch(context, event_log, lesson.lesson_id, plan.started_at_ms, self.fence)
        self._lease = lease
        self._presence = presence
        self._profile = plan.profile
        self._seq = 0
        self._alive_ms: int | None = None
        self._closing: Closing | None = None
        self._quizzed: set[int] = set()  # hours whose quiz was held, or cannot be
        self._close_from_ms = 0  # before this nothing can be overdue
        self._sampled_at_s = self._roster_at_s = self._renewed_at_s = 0.0
        self._keys = [context.key(f"lesson:{{{lesson.lesson_id}}}:{name}") for name in ("alive", "flows")]
        self.wake = asyncio.Event()

    @property
    def lesson_id(self) -> str:
        return self.lesson.lesson_id

    def snapshot(self) -> dict[str, Any]:
        return {
            "fence": self.fence,
            "alive_ms": self._alive_ms,
            "seq": self._seq,
            "learners": len(self.watches),
            "publishing": len(self.media.publishing),
            "open_pings": len(self.open_pings),
            "looks_under_way": sum(watch.asked is not None for watch in self.watches.values()),
            "closing": self._closing is not None,
        }

    async def run(self) -> None:
        """Rounds until the lesson has ended or the lease is lost. Errors of a round are waited out."""
        log.info("conducting", lesson=self.lesson_id, fence=self.fence)
        resumed = False
        while self._lease.held:
            try:
                await self._renew()
                if not resumed:
                    await self._resume()
                    resumed = True
                if await self._round():
                    log.info("lesson ended", lesson=self.lesson_id)
                    await self.context.redis.delete(*self._keys, closing_key(self.context, self.lesson_id))
                    return
            except StaleFence:
                log.warning("another node conducts", lesson=self.lesson_id, fence=self.fence)
                return
            except Exception as error:  # noqa: BLE001  (Redis, the database or a node is away: the class goes on)
                log.warning("round failed", lesson=self.lesson_id, reason=repr(error))
            if await wait_for_event(self.wake, TICK_S):
                self._sampled_at_s = 0.0
        log.warning("lease lost", lesson=self.lesson_id, fence=self.fence)

    async def _renew(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._renewed_at_s >= LEASE_RENEW_S:
            self._renewed_at_s = now_s
            await self._lease.renew()

    async def _resume(self) -> None:
        """Goes on where the record and the conductor before (if any) left off."""
        alive, flows = await self.context.redis.mget(self._keys)
        self._alive_ms = int(alive) if alive else None
        self._seq = await self.event_log.head(self.lesson_id)
        if flows:
            await self.media.take_over(flows)
            await self.context.redis.delete(self._keys[1])
        await self._read_roster(self.context.clock_ms())
        await self.media.resume()
        await self.looks.resume()

    async def _round(self) -> bool:
        """Everything that is due now; True when the lesson has ended.

        What fails in one part (one learner's row, a media node's answer) does not keep the others from their turn.
        """
        now_ms = self.context.clock_ms()
        await self._note_gap(now_ms)
        parts = (
            self._hear,
            self._keep_roster,
            self._watch_media,
            self.recording.look,
            self._close_pings,
            self._attend_looks,
            self._go_on,
        )
        failed = 0
        for part in parts:
            try:
                await part(now_ms)
            except (StaleFence, asyncio.CancelledError):
                raise
            except Exception as error:  # noqa: BLE001  (as in `run`)
                failed += 1
                log.warning("part of a round failed", lesson=self.lesson_id, part=part.__name__, reason=repr(error))
        if not self.ended and failed < len(parts):
            await self._beat(now_ms)
        return self.ended

    async def _note_gap(self, now_ms: int) -> None:
        if self._alive_ms is not None and now_ms - self._alive_ms > GAP_MS:
            log.warning("nobody conducted", lesson=self.lesson_id, from_ms=self._alive_ms, to_ms=now_ms)
            await classroom.record_fault(
                self.context.record, self.lesson_id, "conductor_absent", self._alive_ms, now_ms, self.fence
            )
            self._alive_ms = now_ms
            await nudge_relays(self.context)

    async def _beat(self, now_ms: int) -> None:
        """Leaves behind what a successor needs: until when this one conducted, what it has seen and not written."""
        await self.context.redis.mset({self._keys[0]: now_ms, self._keys[1]: self.media.unrecorded()})
        self._alive_ms = now_ms  # not before: without Redis pings reach nobody, and that is no learner's fault

    async def _hear(self, now_ms: int) -> None:
        """Verdicts and answers reach the conductor as they reach everyone: through the lesson's log."""
        for envelope in await self.event_log.since(self.lesson_id, self._seq):
            self._seq = envelope.seq
            data = envelope.data
            if envelope.type == "check.result" and envelope.to == "staff":  # the learner's own copy says the same
                self.looks.verdict(data["check_id"], data["person_id"], data["outcome"])
            elif envelope.type == "check.announced" and envelope.to == "staff":
                self.looks.announced(data["check_id"], data["person_id"], data["taken_at_ms"])
            elif envelope.type == "ping.closed":
                person_id, _ = self.open_pings.pop(data["ping_id"], (None, 0))
                if person_id is not None and not data["answered"] and person_id in self.watches:
                    self.watches[person_id].look_now = True

    async def _keep_roster(self, now_ms: int) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._roster_at_s < ROSTER_S:
            return
        self._roster_at_s = now_s
        # Others may end a lesson as well (an operator's tool): then there is nothing left to conduct.
        self.ended = (await classroom.lesson_view(self.context.record, self.lesson_id)).state == "ended"
        await self._read_roster(now_ms)
        await self._close_quiz(now_ms)

    async def _watch_media(self, now_ms: int) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._sampled_at_s < SAMPLE_S:
            return
        self._sampled_at_s = now_s
        await self.media.sample()
        for person_id, watch in self.watches.items():
            watch.camera(person_id in self.media.publishing)
        await self.media.record(self.context.clock_ms())

    async def _attend_looks(self, now_ms: int) -> None:
        await self.looks.attend(now_ms, new_ones=self._closing is None)

    async def _go_on(self, now_ms: int) -> None:
        """Carries the plan out while the class runs, and closes it when its time or its instructor says so."""
        if self.ended:
            return
        if self._closing is None:
            wish = await asked_to_close(self.context, self.lesson_id)
            if wish is None and now_ms >= self.plan.planned_end_ms:
                wish = (None, self.plan.planned_end_ms)
            if wish is None:
                await self._open_what_is_due(now_ms)
                return
            closing = Closing(self, *wish)
            await closing.begin(now_ms)
            self._closing = closing
        self.ended = await self._closing.step(now_ms)

    async def _read_roster(self, now_ms: int) -> None:
        sittings = await self._presence.of_lesson(self.lesson_id)
        await self._presence.sweep(self.lesson_id, sittings)
        for learner in await classroom.learners_of(self.context.record, self.lesson_id):
            watch = self.watches.get(learner.person_id)
            if watch is None:
                watch = self.watches[learner.person_id] = Watch(
                    learner.person_id,
                    next_ping=first_index(self.plan, learner.person_id, PING, now_ms),
                    next_look=first_index(self.plan, learner.person_id, FACE, now_ms),
                )
            watch.may_be_looked_at = learner.consented and learner.template_key is not None
            watch.here = watch.publishing or self._is_here(sittings.get(learner.person_id), now_ms)
        self.media.learners = set(self.watches)

    def _is_here(self, sitting: Sitting | None, now_ms: int) -> bool:
        # Someone whose connection comes and goes is pinged all the same: else cutting it would be a way around pings.
        if sitting is None or sitting.role != "learner":
            return False
        return sitting.connected or now_ms - sitting.at_ms <= self._profile.ms("max_gap_s")

    async def _open_what_is_due(self, now_ms: int) -> None:
        for watch in self.watches.values():
            index = ping_due(self.plan, watch, now_ms)
            if index is not None:
                try:
                    await self.open_ping(watch, index, now_ms, now_ms + self._profile.ms("ping_window_s"))
                except BaseException:
                    watch.next_ping = index  # not opened: it is due again
                    raise
        for quiz in self.plan.quizzes():
            opens_at_ms = quiz.at_ms - self._profile.ms("quiz_window_s")
            in_time = opens_at_ms <= now_ms < quiz.at_ms - self._profile.ms("ping_window_s")
            if in_time and quiz.index not in self._quizzed:
                await self.open_quiz(quiz.index, quiz.at_ms, now_ms)

    async def open_ping(self, watch: Watch, index: int, now_ms: int, closes_at_ms: int) -> None:
        """Opens a ping for one learner, once for each index."""
        ping_id = await classroom.open_ping(
            self.context.record, self.lesson_id, watch.person_id, now_ms, closes_at_ms, index, self.fence
        )
        self.open_pings[ping_id] = (watch.person_id, closes_at_ms)
        await nudge_relays(self.context)

    async def open_quiz(self, hour_index: int, closes_at_ms: int, now_ms: int) -> str | None:
        """Opens the quiz of an hour unless it was held; None when the question bank does not hold enough."""
        held = {quiz.hour_index for quiz in await classroom.quizzes_of(self.context.record, self.lesson_id)}
        if hour_index in held:
            self._quizzed.add(hour_index)
            return None
        try:
            quiz = await classroom.open_quiz(
                self.context.record, self.lesson_id, hour_index, closes_at_ms, None, self.fence, at_ms=now_ms
            )
        except WrongState as error:
            log.error("quiz not held", lesson=self.lesson_id, hour=hour_index, reason=str(error))
            self._quizzed.add(hour_index)
            return None
        self._quizzed.add(hour_index)
        await nudge_relays(self.context)
        return quiz.quiz_id

    async def _close_quiz(self, now_ms: int) -> None:
        quiz = await classroom.open_quiz_of(self.context.record, self.lesson_id)
        if quiz is not None and now_ms >= quiz.closes_at_ms:
            await classroom.close_quiz(self.context.record, quiz.quiz_id, now_ms, self.fence)
            await nudge_relays(self.context)

    async def _close_pings(self, now_ms: int) -> None:
        """Ends pings whose window has passed; after a takeover those of the conductor before as well."""
        overdue = any(closes_at_ms < now_ms for _, closes_at_ms in self.open_pings.values())
        if not overdue and now_ms < self._close_from_ms:
            return
        self._close_from_ms = now_ms + round(ROSTER_S * 1000)
        for missed in await classroom.close_pings(self.context.record, self.lesson_id, now_ms, self.fence):
            self.open_pings.pop(missed.ping_id, None)
            if not missed.void and missed.person_id in self.watches:
                self.watches[missed.person_id].look_now = True
        self.open_pings = {
            ping_id: (person, closes_at_ms)
            for ping_id, (person, closes_at_ms) in self.open_pings.items()
            if closes_at_ms >= now_ms
        }
        await nudge_relays(self.context)
