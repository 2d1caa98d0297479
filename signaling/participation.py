"""What anyone in a lesson says: chat, a raised hand, the answers to pings and quizzes.

Answers are evidence, so they count only from the person's present seat: a window that was taken over but has not
heard of it yet cannot answer for its person (R-060).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

import classroom
from signaling.lesson_namespace import Call, Window
from signaling.protocol import (
    ChatMessage,
    ChatSend,
    ErrorCode,
    HandRaise,
    Nothing,
    PingAnswer,
    PingAnswered,
    QuizAnswer,
    QuizAnswered,
    Role,
)
from signaling.push import nudge_relays
from signaling.sentences import Refusal

if TYPE_CHECKING:
    from signaling.context import Context
    from signaling.seats import Seat, Seats

log = structlog.get_logger(__name__)


class Participation:
    def __init__(self, context: Context, seats: Seats) -> None:
        self._context = context
        self._seats = seats

    def calls(self) -> dict[str, Call]:
        return {
            "chat.send": self.chat,
            "hand.raise": self.hand,
            "ping.answer": self.answer_ping,
            "quiz.answer": self.answer_quiz,
        }

    async def chat(self, window: Window, payload: ChatSend) -> ChatMessage:
        seat, lesson, role = window.sitting()
        message = await classroom.post_chat(
            self._context.record,
            lesson.lesson_id,
            seat.person_id,
            role.value,
            payload.text,
            payload.client_id,
            self._context.clock_ms(),
        )
        await nudge_relays(self._context)
        return ChatMessage.model_validate(message)

    async def hand(self, window: Window, payload: HandRaise) -> Nothing:
        seat, lesson, _ = window.sitting()
        now_ms = self._context.clock_ms()
        await classroom.raise_hand(self._context.record, lesson.lesson_id, seat.person_id, payload.raised, now_ms)
        await nudge_relays(self._context)
        return Nothing()

    async def answer_ping(self, window: Window, payload: PingAnswer) -> PingAnswered:
        seat, lesson, _ = window.require(Role.LEARNER)
        at_ms = self._context.clock_ms()  # when the answer came, not when the database had time for it
        await self._still_sits(seat)
        answer = await classroom.answer_ping(
            self._context.record, payload.ping_id, seat.person_id, at_ms, lesson.lesson_id
        )
        await nudge_relays(self._context)
        return PingAnswered(ping_id=answer.ping_id, accepted=answer.accepted, at_ms=answer.at_ms)

    async def answer_quiz(self, window: Window, payload: QuizAnswer) -> QuizAnswered:
        seat, lesson, _ = window.require(Role.LEARNER)
        at_ms = self._context.clock_ms()
        await self._still_sits(seat)
        answer = await classroom.answer_quiz(
            self._context.record,
            payload.quiz_id,
            seat.person_id,
            payload.question_id,
            payload.chosen,
            at_ms,
            lesson.lesson_id,
        )
        await nudge_relays(self._context)
        return QuizAnswered(
            quiz_id=answer.quiz_id, question_id=answer.question_id, answered=answer.answered, of=answer.of
        )

    async def _still_sits(self, seat: Seat) -> None:
        try:
            lost = await self._seats.lost([seat])
        except (RedisError, OSError) as error:
            # With Redis away nobody can take a seat either; this window's was good at the last recheck.
            log.warning("seat not confirmed", person=seat.person_id, reason=str(error))
            return
        if lost:
            raise Refusal(ErrorCode.SEAT_TAKEN)
