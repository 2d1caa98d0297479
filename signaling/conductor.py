"""The conductor of one live lesson: opens pings and looks at faces by plan, samples media, holds quizzes, ends it.

One node conducts a lesson under a lease; each write carries the lease's fencing token, so one that was frozen and
comes back writes nothing. All that matters is in the record: another conductor goes on from there, and the time in
which nobody conducted is written down as the server's fault, never a learner's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

import classroom
from classroom import FACE, PING, NotFound, StaleFence, WrongState
from signaling.closing import Closing, asked_to_close
from signaling.face_checks import Asked, FaceChecks, State
from signaling.lease import LEASE_RENEW_S, Lease
from signaling.media_watch import SAMPLE_S, MediaWatch
from signaling.plan_execution import Watch, first_index, look_due, ping_due
from signaling.push import nudge_relays

if TYPE_CHECKING:
    from classroom import LessonPlan, LessonView
    from signaling.context import Context
    from signaling.event_log import EventLog
    from signaling.presence import Presence, Sitting
    from signaling.protocol import Envelope

TICK_S = 0.25
ROSTER_S = 2.0  # how often enrolment, consent and presence are read again
# A pause longer than this between two rounds is a fault of the server's.
GAP_MS = 3000
# A verdict that is late for longer than twice the relook time, but never sooner than this, is asked for again.
VERDICT_PATIENCE_MS = 10_000
MAX_SENDINGS = 3

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
        self.face_checks = face_checks
        self.event_log = event_log
        self.watches: dict[str, Watch] = {}
        self.open_pings: dict[str, tuple[str, int]] = {}  # ping id → person, closes_at_ms
        self.media = MediaWatch(context, lesson, self.fence)
        self._lease = lease
        self._presence = presence
        self._profile = plan.profile
        self._seq = 0
        self._alive_ms: int | None = None
        self._closing: Closing | None = None
        self._close_from_ms = 0  # before this nothing can be overdue
        self._sampled_at_s = self._roster_at_s = self._renewed_at_s = 0.0
        self._keys = [context.key(f"lesson:{{{lesson.lesson_id}}}:{name}") for name in ("alive", "flows")]
        self.wake = asyncio.Event()

    @property
    def lesson_id(self) -> str:
        return self.lesson.lesson_id

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
                    return
            except StaleFence:
                log.warning("another node conducts", lesson=self.lesson_id, fence=self.fence)
                return
            except Exception as error:  # noqa: BLE001  (Redis, the database or a node is away: the class goes on)
                log.warning("round failed", lesson=self.lesson_id, reason=repr(error))
            try:
                await asyncio.wait_for(self.wake.wait(), TICK_S)
                self._sampled_at_s = 0.0
            except TimeoutError:
                continue
            finally:
                self.wake.clear()
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
        if self._alive_ms is not None:
            await self.media.take_over(flows)
            await self.context.redis.delete(self._keys[1])
        now_ms = self.context.clock_ms()
        await self._read_roster(now_ms)
        await self.media.resume()
        for check in await classroom.checks_of(self.context.record, self.lesson_id):
            watch = self.watches.get(check.person_id)
            if watch is None:
                continue
            if check.plan_index is not None:
                watch.looked_before.add(check.plan_index)
            if check.outcome is not None and check.judged_at_ms is not None:
                watch.verdict(check.outcome, check.judged_at_ms)
            elif check.taken_at_ms is not None:
                watch.asked = await self._adopt(check.check_id, check.person_id, check.taken_at_ms)
        if self._alive_ms is None:
            # The very first round, or a Redis that came back empty: the start of the lesson is all that is known.
            last = [check.judged_at_ms for check in await classroom.checks_of(self.context.record, self.lesson_id)]
            self._alive_ms = max([at for at in last if at is not None], default=None)

    async def _adopt(self, check_id: str, person_id: str, taken_at_ms: int) -> Asked:
        template_key = await classroom.template_of(self.context.record, person_id)
        return Asked(
            self.lesson_id,
            person_id,
            fence=self.fence,
            check_id=check_id,
            template_key=template_key,
            state=State.SENT,
            sent_at_ms=taken_at_ms,
            sendings=1,
        )

    async def _round(self) -> bool:
        """Everything that is due now; True when the lesson has ended."""
        now_ms = self.context.clock_ms()
        now_s = asyncio.get_running_loop().time()
        await self._note_gap(now_ms)
        await self._hear()
        if now_s - self._roster_at_s >= ROSTER_S:
            self._roster_at_s = now_s
            await self._read_roster(now_ms)
            await self._close_quiz(now_ms)
        if now_s - self._sampled_at_s >= SAMPLE_S:
            self._sampled_at_s = now_s
            await self.media.sample(now_ms)
            for person_id, watch in self.watches.items():
                watch.camera(person_id in self.media.publishing)
            await self.media.record(now_ms)
        await self._close_pings(now_ms)
        await self._attend_checks(now_ms)
        if self._closing is None:
            wish = await asked_to_close(self.context, self.lesson_id)
            if wish is None and now_ms >= self.plan.planned_end_ms:
                wish = (None, self.plan.planned_end_ms)
            if wish is not None:
                self._closing = Closing(self, *wish)
                await self._closing.begin(now_ms)
        if self._closing is not None:
            if await self._closing.step(now_ms):
                return True
        else:
            await self._open_what_is_due(now_ms)
        await self._beat(now_ms)
        return False

    async def _note_gap(self, now_ms: int) -> None:
        if self._alive_ms is not None and now_ms - self._alive_ms > GAP_MS:
            log.warning("nobody conducted", lesson=self.lesson_id, from_ms=self._alive_ms, to_ms=now_ms)
            await classroom.record_fault(
                self.context.record, self.lesson_id, "conductor_absent", self._alive_ms, now_ms, self.fence
            )
            await nudge_relays(self.context)
        self._alive_ms = now_ms

    async def _beat(self, now_ms: int) -> None:
        """Leaves behind what a successor needs: until when this one conducted, what it has seen and not written."""
        await self.context.redis.mset({self._keys[0]: now_ms, self._keys[1]: self.media.unrecorded()})

    async def _hear(self) -> None:
        """Verdicts and answers reach the conductor as they reach everyone: through the lesson's log."""
        for envelope in await self.event_log.since(self.lesson_id, self._seq):
            self._seq = envelope.seq
            self._take_in(envelope)

    def _take_in(self, envelope: Envelope) -> None:
        data = envelope.data
        if envelope.type == "check.result" and envelope.to == "staff":  # the learner's own copy says the same
            watch = self.watches.get(data["person_id"])
            if watch is not None:
                watch.verdict(data["outcome"], self.context.clock_ms())
                if watch.asked is not None and watch.asked.check_id == data["check_id"]:
                    watch.asked = None
        elif envelope.type == "ping.closed":
            person_id, _ = self.open_pings.pop(data["ping_id"], (None, 0))
            if person_id is not None and not data["answered"] and person_id in self.watches:
                self.watches[person_id].look_now = True

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

    def _is_here(self, sitting: Sitting | None, now_ms: int) -> bool:
        # Someone whose connection comes and goes is pinged all the same: else cutting it would be a way around pings.
        if sitting is None or sitting.role != "learner":
            return False
        return sitting.connected or now_ms - sitting.at_ms <= self._profile.ms("max_gap_s")

    async def _open_what_is_due(self, now_ms: int) -> None:
        for watch in self.watches.values():
            index = ping_due(self.plan, watch, now_ms)
            if index is not None:
                await self.open_ping(watch, index, now_ms, now_ms + self._profile.ms("ping_window_s"))
        for quiz in self.plan.quizzes():
            opens_at_ms = quiz.at_ms - self._profile.ms("quiz_window_s")
            if opens_at_ms <= now_ms < quiz.at_ms - self._profile.ms("ping_window_s"):
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
            return None
        try:
            quiz = await classroom.open_quiz(
                self.context.record, self.lesson_id, hour_index, closes_at_ms, None, self.fence, at_ms=now_ms
            )
        except WrongState as error:
            log.error("quiz not held", lesson=self.lesson_id, hour=hour_index, reason=str(error))
            return None
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

    async def _attend_checks(self, now_ms: int) -> None:
        for watch in self.watches.values():
            if watch.asked is not None:
                await self._attend(watch, watch.asked, now_ms)
            if self._closing is not None:
                continue
            look, index = look_due(self.plan, watch, now_ms)
            if look:
                self.ask(watch, index)

    def ask(self, watch: Watch, index: int | None) -> None:
        """Queues a look at this learner's face."""
        asked = Asked(self.lesson_id, watch.person_id, plan_index=index, fence=self.fence)
        watch.asked = self.face_checks.ask(asked)

    async def _attend(self, watch: Watch, asked: Asked, now_ms: int) -> None:
        """Looks after a check on its way: settled without a judge, failed, or its verdict is late."""
        if asked.state is State.SETTLED:
            watch.asked = None
            watch.verdict(asked.outcome or "", now_ms)
        elif asked.state in (State.FAILED, State.REFUSED):
            watch.asked = None
            watch.failures, watch.looked_at_ms = max(1, watch.failures), now_ms
        elif asked.state is State.SENT:
            patience_ms = max(2 * self._profile.ms("relook_s"), VERDICT_PATIENCE_MS)
            if now_ms - asked.sent_at_ms < patience_ms:
                return
            check = await classroom.find_check(self.context.record, asked.check_id or "")
            if check.outcome is not None:
                # The verdict is there; its announcement was lost with a log.
                watch.asked = None
                watch.verdict(check.outcome, now_ms)
            elif asked.sendings < MAX_SENDINGS and asked.template_key is not None:
                log.warning("verdict late, asked again", check=asked.check_id, sendings=asked.sendings)
                await self.face_checks.send(asked)
            else:
                await self.face_checks.give_up(asked)


class Conductors:
    """All lessons this node conducts: watches what is live and takes the leases that are free."""

    def __init__(self, context: Context, presence: Presence, face_checks: FaceChecks, event_log: EventLog) -> None:
        self._context = context
        self._presence = presence
        self._face_checks = face_checks
        self._log = event_log
        self._running: dict[str, tuple[Conductor, asyncio.Task[None]]] = {}
        self._look = asyncio.Event()

    def look(self) -> None:
        """A lesson has just started: do not wait for the next round."""
        self._look.set()

    def wake(self, lesson_id: str) -> None:
        """Something happened in the lesson's media: its conductor, if it is here, looks at once."""
        if lesson_id in self._running:
            self._running[lesson_id][0].wake.set()

    def conducting(self) -> list[str]:
        return [lesson_id for lesson_id, (_, task) in self._running.items() if not task.done()]

    async def run(self) -> None:
        """For ever; an error is the caller's to log and retry."""
        while True:
            self._running = {key: pair for key, pair in self._running.items() if not pair[1].done()}
            for lesson_id in await classroom.live_lessons(self._context.record):
                if lesson_id not in self._running:
                    await self._try(lesson_id)
            try:
                await asyncio.wait_for(self._look.wait(), 1.0)
            except TimeoutError:
                continue
            finally:
                self._look.clear()

    async def _try(self, lesson_id: str) -> None:
        context = self._context
        lease = Lease(context.redis, f"lesson:{lesson_id}", prefix=context.prefix)
        if not await lease.acquire():
            return
        try:
            lesson = await classroom.lesson_view(context.record, lesson_id)
            plan = await classroom.plan_of(context.record, lesson_id)
        except (NotFound, WrongState):
            await lease.release()
            return
        conductor = Conductor(context, lesson, plan, lease, self._presence, self._face_checks, self._log)
        task = asyncio.get_running_loop().create_task(self._conduct(conductor, lease), name=f"conduct {lesson_id}")
        self._running[lesson_id] = (conductor, task)

    async def _conduct(self, conductor: Conductor, lease: Lease) -> None:
        try:
            await conductor.run()
        finally:
            await lease.release()

    async def stop(self) -> None:
        """Gives all lessons up; another node takes them at once."""
        for _, task in self._running.values():
            task.cancel()
        await asyncio.gather(*(task for _, task in self._running.values()), return_exceptions=True)
        self._running.clear()
