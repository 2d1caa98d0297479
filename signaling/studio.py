"""What the instructor decides: the class starts, ends, a quiz opens, a quiz closes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import classroom
from signaling.closing import ask_to_close
from signaling.lesson_namespace import Call, Window
from signaling.protocol import ErrorCode, LessonFacts, Nothing, QuizClose, QuizPush, QuizPushed, Role
from signaling.push import nudge_relays
from signaling.sentences import Refusal

if TYPE_CHECKING:
    from classroom import LessonView
    from signaling.conductors import Conductors
    from signaling.context import Context


class Studio:
    def __init__(self, context: Context, conductors: Conductors) -> None:
        self._context = context
        self._conductors = conductors

    def calls(self) -> dict[str, Call]:
        return {
            "class.start": self.start,
            "class.end": self.end,
            "quiz.push": self.push_quiz,
            "quiz.close": self.close_quiz,
        }

    async def start(self, window: Window, payload: Nothing) -> LessonFacts:
        seat, lesson, _ = window.require(Role.INSTRUCTOR)
        started = await classroom.start_lesson(self._context.record, lesson.lesson_id, seat.person_id)
        window.lesson = started
        await nudge_relays(self._context)
        self._conductors.look()
        return LessonFacts.model_validate(started.facts())

    async def end(self, window: Window, payload: Nothing) -> LessonFacts:
        """Asks the conductor to close the class; `class.ending` and then `class.ended` tell how it goes."""
        seat, lesson, _ = window.require(Role.INSTRUCTOR)
        now = await self._lesson_now(window, lesson)
        if now.state == "scheduled":
            raise Refusal(ErrorCode.WRONG_STATE)
        if now.state == "live":
            await ask_to_close(self._context, lesson.lesson_id, seat.person_id)
        return LessonFacts.model_validate(now.facts())

    async def push_quiz(self, window: Window, payload: QuizPush) -> QuizPushed:
        seat, lesson, _ = window.require(Role.INSTRUCTOR)
        now = await self._lesson_now(window, lesson)
        if now.state != "live" or now.started_at_ms is None:
            raise Refusal(ErrorCode.WRONG_STATE)
        now_ms = self._context.clock_ms()
        hour_index = payload.hour_index
        if hour_index is None:
            hour_index = running_hour(now, now_ms)
        quiz = await classroom.open_quiz(
            self._context.record,
            lesson.lesson_id,
            hour_index,
            now_ms + now.profile.ms("quiz_window_s"),
            seat.person_id,
            at_ms=now_ms,
        )
        await nudge_relays(self._context)
        return QuizPushed(quiz_id=quiz.quiz_id)

    async def close_quiz(self, window: Window, payload: QuizClose) -> Nothing:
        _, lesson, _ = window.require(Role.INSTRUCTOR)
        mine = await classroom.quizzes_of(self._context.record, lesson.lesson_id)
        if payload.quiz_id not in {quiz.quiz_id for quiz in mine}:
            raise Refusal(ErrorCode.NOT_FOUND)
        await classroom.close_quiz(self._context.record, payload.quiz_id, self._context.clock_ms())
        await nudge_relays(self._context)
        return Nothing()

    async def _lesson_now(self, window: Window, lesson: LessonView) -> LessonView:
        now = await classroom.access_lesson(self._context.record, window.actor, lesson.lesson_id)
        window.lesson = now
        return now


def running_hour(lesson: LessonView, now_ms: int) -> int:
    """The index of the credit hour that runs now, 0-based; the last one when the class runs over."""
    hour_ms = lesson.profile.ms("seconds_per_hour")
    hours = max(1, round(lesson.planned_s * 1000 / hour_ms))
    return min(max(0, (now_ms - (lesson.started_at_ms or now_ms)) // hour_ms), hours - 1)
