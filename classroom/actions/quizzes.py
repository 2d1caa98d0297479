"""In-class quizzes: five questions at the end of each credit hour (R-081)."""

from __future__ import annotations

from classroom.store.record import Record
from classroom.views import QuizAnswered, QuizProgress, QuizView


async def open_quiz(
    record: Record,
    lesson_id: str,
    hour_index: int,
    closes_at_ms: int,
    opened_by: str | None,
    fence: int | None = None,
    at_ms: int | None = None,
) -> QuizView:
    """Draws the questions of the hour and opens the quiz; an hour already asked returns its quiz. Raises WrongState when no lesson is live or the bank is too small."""
    raise NotImplementedError


async def answer_quiz(
    record: Record, quiz_id: str, person_id: str, question_id: str, chosen: list[int], at_ms: int
) -> QuizAnswered:
    """Keeps an answer; the last before closing counts. Raises TooLate, BadInput, NotFound."""
    raise NotImplementedError


async def close_quiz(record: Record, quiz_id: str, now_ms: int, fence: int | None = None) -> None:
    """Scores everyone (missing = 0) and sends each learner the own result. Idempotent."""
    raise NotImplementedError


async def quiz_progress(record: Record, quiz_id: str) -> QuizProgress:
    """How the answers come in."""
    raise NotImplementedError


async def open_quiz_of(record: Record, lesson_id: str) -> QuizView | None:
    """The quiz running now."""
    raise NotImplementedError


async def quizzes_of(record: Record, lesson_id: str) -> list[QuizView]:
    """All quizzes of the lesson so far, by hour."""
    raise NotImplementedError
