"""How a class ends: one more ping and one more look for everyone present, the last quiz, then the record is settled.

Without it the seconds after each learner's last evidence would be lost, and leaving early would cost nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog

import classroom
from signaling.plan_execution import CLOSING_INDEX
from signaling.protocol import ClassEnding, Envelope
from signaling.push import nudge_relays

if TYPE_CHECKING:
    from signaling.conductor import Conductor
    from signaling.context import Context

VERDICTS_MS = 5000  # beyond the ping's window, for the last verdicts to come in
_KEY_TTL_S = 24 * 3600

log = structlog.get_logger(__name__)


def closing_key(context: Context, lesson_id: str) -> str:
    return context.key(f"lesson:{{{lesson_id}}}:closing")


async def ask_to_close(context: Context, lesson_id: str, actor_id: str) -> None:
    """Leaves the wish where the lesson's conductor, on whichever node, finds it; the first one counts."""
    wish = json.dumps({"by": actor_id, "at_ms": context.clock_ms()})
    await context.redis.set(closing_key(context, lesson_id), wish, nx=True, ex=_KEY_TTL_S)


async def asked_to_close(context: Context, lesson_id: str) -> tuple[str | None, int] | None:
    """Who asked for the end and when; None while nobody has."""
    wish = await context.redis.get(closing_key(context, lesson_id))
    if wish is None:
        return None
    values = json.loads(wish)
    return values["by"], int(values["at_ms"])


class Closing:
    """The last moments of one lesson, carried out by its conductor; a successor begins them again harmlessly."""

    def __init__(self, conductor: Conductor, by: str | None, at_ms: int) -> None:
        self._conductor = conductor
        self._by = by
        self._pings_end_ms = at_ms + conductor.plan.profile.ms("ping_window_s")
        self._deadline_ms = self._pings_end_ms + VERDICTS_MS
        self._quiz_id: str | None = None
        self._quiz_closes_at_ms = 0
        self._here: set[str] = set()

    async def begin(self, now_ms: int) -> None:
        conductor = self._conductor
        # A conductor that took over late still gives everyone the full window.
        self._pings_end_ms = max(self._pings_end_ms, now_ms + conductor.plan.profile.ms("ping_window_s"))
        self._deadline_ms = self._pings_end_ms + VERDICTS_MS
        log.info("class closes", lesson=conductor.lesson_id, by=self._by, deadline_ms=self._deadline_ms)
        ending = ClassEnding(ends_by_ms=self._deadline_ms).model_dump(mode="json")
        envelope = Envelope(seq=0, at_ms=now_ms, type="class.ending", to="all", data=ending)
        await conductor.event_log.append(conductor.lesson_id, [(f"ending:{conductor.lesson_id}", envelope)])
        pinged = {person for person, _ in conductor.open_pings.values()}
        for watch in conductor.watches.values():
            if not watch.here:
                continue
            self._here.add(watch.person_id)
            if watch.person_id not in pinged:
                await conductor.open_ping(watch, CLOSING_INDEX, now_ms, self._pings_end_ms)
            if watch.publishing and watch.may_be_looked_at and watch.asked is None:
                already = CLOSING_INDEX in watch.looked_before
                watch.looked_before.add(CLOSING_INDEX)
                if not already:
                    conductor.looks.ask(watch, CLOSING_INDEX)
        self._quiz_id = await self._hold_last_quiz(now_ms)

    async def _hold_last_quiz(self, now_ms: int) -> str | None:
        """The quiz of the running hour, when most of the hour was taught (R-080, R-081)."""
        conductor = self._conductor
        running = await classroom.open_quiz_of(conductor.context.record, conductor.lesson_id)
        if running is not None:
            self._quiz_closes_at_ms = running.closes_at_ms
            return running.quiz_id
        hour_ms = conductor.plan.profile.ms("seconds_per_hour")
        quizzes = conductor.plan.quizzes()
        taught_ms = now_ms - conductor.plan.started_at_ms
        hour_index = min(taught_ms // hour_ms, quizzes[-1].index)
        if not self._here or taught_ms - hour_index * hour_ms < hour_ms / 2:
            return None
        self._quiz_closes_at_ms = self._deadline_ms
        return await conductor.open_quiz(hour_index, self._deadline_ms, now_ms)

    async def step(self, now_ms: int) -> bool:
        """True when everything came in, or its time is over, and the lesson has been ended.

        A verdict still under way is not given up: the record takes it after the end and settles the lesson anew.
        """
        if now_ms < self._deadline_ms and not await self._all_in(now_ms):
            return False
        conductor = self._conductor
        record, lesson_id, fence = conductor.context.record, conductor.lesson_id, conductor.fence
        await conductor.media.sample()
        await conductor.media.record(now_ms, all_of_it=True)
        await classroom.close_pings(record, lesson_id, now_ms, fence)
        if self._quiz_id is not None:
            await classroom.close_quiz(record, self._quiz_id, now_ms, fence)
        await classroom.end_lesson(record, lesson_id, self._by, fence)
        await nudge_relays(conductor.context)
        return True

    async def _all_in(self, now_ms: int) -> bool:
        conductor = self._conductor
        if conductor.open_pings:
            return False
        if any(watch.asked is not None for watch in conductor.watches.values()):
            return False
        if self._quiz_id is None or now_ms >= self._quiz_closes_at_ms:
            return True
        progress = await classroom.quiz_progress(conductor.context.record, self._quiz_id)
        return bool(progress.answered) and min(progress.answered.values()) >= min(len(self._here), progress.learners)
