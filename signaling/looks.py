"""The conductor's looks at faces: asked for when due, followed to their verdict, asked again when it is late."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

import classroom
from signaling.face_checks import Asked, State
from signaling.plan_execution import look_due

if TYPE_CHECKING:
    from classroom import LessonPlan
    from signaling.context import Context
    from signaling.face_checks import FaceChecks
    from signaling.plan_execution import Watch

# A verdict that is late for longer than twice the relook time, but never sooner than this, is asked for again.
VERDICT_PATIENCE_MS = 10_000
MAX_SENDINGS = 3

log = structlog.get_logger(__name__)


class Looks:
    """The checks of one lesson. `watches` is the conductor's own."""

    def __init__(
        self, context: Context, plan: LessonPlan, fence: int, face_checks: FaceChecks, watches: dict[str, Watch]
    ) -> None:
        self._context = context
        self._plan = plan
        self._fence = fence
        self._face_checks = face_checks
        self._watches = watches

    async def resume(self) -> None:
        """Takes up the checks that the conductor before had opened, and what they came to."""
        for check in await classroom.checks_of(self._context.record, self._plan.lesson_id):
            watch = self._watches.get(check.person_id)
            if watch is None:
                continue
            if check.plan_index is not None:
                watch.looked_before.add(check.plan_index)
            if check.outcome is not None and check.judged_at_ms is not None:
                watch.verdict(check.outcome, check.judged_at_ms)
            elif check.taken_at_ms is not None:
                self.announced(check.check_id, check.person_id, check.taken_at_ms)

    def announced(self, check_id: str, person_id: str, taken_at_ms: int) -> None:
        """A frame was taken, here or for a proctor on another node: its verdict is waited for from here as well."""
        watch = self._watches.get(person_id)
        if watch is not None and watch.asked is None:
            watch.asked = Asked(
                self._plan.lesson_id,
                person_id,
                fence=self._fence,
                check_id=check_id,
                state=State.SENT,
                sent_at_ms=taken_at_ms,
                sendings=1,
            )

    async def attend(self, now_ms: int, *, new_ones: bool) -> None:
        """Follows the checks on their way and, while the class runs, asks for those that are due."""
        for watch in self._watches.values():
            if watch.asked is not None:
                await self._follow(watch, watch.asked, now_ms)
            if new_ones:
                look, index = look_due(self._plan, watch, now_ms)
                if look:
                    self.ask(watch, index)

    def ask(self, watch: Watch, index: int | None) -> None:
        """Queues a look at this learner's face."""
        asked = Asked(self._plan.lesson_id, watch.person_id, plan_index=index, fence=self._fence)
        watch.asked = self._face_checks.ask(asked)

    def verdict(self, check_id: str, person_id: str, outcome: str) -> None:
        """A check's result was announced."""
        watch = self._watches.get(person_id)
        if watch is not None:
            watch.verdict(outcome, self._context.clock_ms())
            if watch.asked is not None and watch.asked.check_id == check_id:
                watch.asked = None

    async def _follow(self, watch: Watch, asked: Asked, now_ms: int) -> None:
        if asked.state is State.SETTLED:
            watch.asked = None
            watch.verdict(asked.outcome or "", now_ms)
        elif asked.state in (State.FAILED, State.REFUSED):
            watch.asked = None
            watch.failures, watch.looked_at_ms = max(1, watch.failures), now_ms
        elif asked.state is State.SENT:
            patience_ms = max(2 * self._plan.profile.ms("relook_s"), VERDICT_PATIENCE_MS)
            if now_ms - asked.sent_at_ms < patience_ms:
                return
            check = await classroom.find_check(self._context.record, asked.check_id or "")
            if check.outcome is not None:
                # The verdict is there; its announcement was lost with a log.
                watch.asked = None
                watch.verdict(check.outcome, now_ms)
            elif asked.sendings < MAX_SENDINGS:
                log.warning("verdict late, asked again", check=asked.check_id, sendings=asked.sendings)
                await self._face_checks.send(asked)  # raises while the broker is away: tried again in the next round
            else:
                # No worker for long: a new look is asked for. The old check stays open, and should its verdict come
                # after all, it is evidence of the moment its frame was taken.
                log.error("no verdict", check=asked.check_id, person=asked.person_id, sendings=asked.sendings)
                watch.asked = None
                watch.failures, watch.looked_at_ms = max(1, watch.failures), now_ms
