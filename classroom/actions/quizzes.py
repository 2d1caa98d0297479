"""In-class quizzes: five questions at the end of each credit hour (R-081)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import RowMapping

from classroom.domain import evidence
from classroom.domain.errors import BadInput, NotFound, TooLate, WrongState
from classroom.domain.quizzes import draw, is_right, score
from classroom.domain.roles import Role
from classroom.ledger.entries import Draft
from classroom.ledger.evidence_entries import QUIZ_SCORED
from classroom.standing import LIVE, Lesson, hold_lesson, participant, read_lesson, record_evidence, tell_standing
from classroom.store import tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork, new_id
from classroom.tells import open_quiz as open_quiz_payload
from classroom.tells import quiz_item, quiz_question
from classroom.views import QuizAnswered, QuizProgress, QuizView

#: The instructor's picture of incoming answers is refreshed at most this often: a burst of answers is one message.
PROGRESS_EVERY_MS = 500


async def open_quiz(
    record: Record,
    lesson_id: str,
    hour_index: int,
    closes_at_ms: int,
    opened_by: str | None,
    fence: int | None = None,
    at_ms: int | None = None,
) -> QuizView:
    """Draws the questions of the hour and opens the quiz; an hour already asked returns its quiz.

    Raises WrongState when the lesson is not live or the bank is too small, NotFound, StaleFence.
    """

    async def change(work: UnitOfWork) -> QuizView:
        # Alone, so that the instructor's button and the conductor's clock open one quiz, not two.
        lesson = await hold_lesson(work, lesson_id, fence=fence, states=(LIVE,), alone=True)
        before = await work.find(tables.quizzes, lesson_id=lesson_id, hour_index=hour_index)
        if before is not None:
            return await quiz_view(work, before)
        bank = [row["id"] for row in await work.many(tables.questions, course_id=lesson.row["course_id"])]
        try:
            drawn = draw(lesson.row["secret"], hour_index, bank, lesson.profile.questions_per_hour)
        except ValueError as error:
            raise WrongState("题库题目不足。", "The question bank is too small.") from error
        opened_at_ms = work.now_ms if at_ms is None else at_ms
        quiz_id = new_id("z")
        await work.insert(
            tables.quizzes,
            id=quiz_id,
            lesson_id=lesson_id,
            hour_index=hour_index,
            opened_at_ms=opened_at_ms,
            closes_at_ms=closes_at_ms,
            question_ids=drawn,
            opened_by=opened_by,
            progress_told_ms=0,
        )
        view = await quiz_view(work, await work.one(tables.quizzes, id=quiz_id))
        work.tell(lesson_id, "all", "quiz.opened", {"quiz": open_quiz_payload(view, {})}, opened_at_ms)
        await _tell_progress(work, await work.one(tables.quizzes, id=quiz_id))
        return view

    return await record.change(change)


async def answer_quiz(
    record: Record,
    quiz_id: str,
    person_id: str,
    question_id: str,
    chosen: Sequence[int],
    at_ms: int,
    lesson_id: str | None = None,
) -> QuizAnswered:
    """Keeps an answer; the last before closing counts, the same again changes nothing.

    `lesson_id` is where the answerer sits. Raises TooLate after closing, BadInput for options that do not exist,
    NotFound for strangers to the lesson and for those who sit in another (R-060).
    """

    async def change(work: UnitOfWork) -> QuizAnswered:
        quiz = await work.one(tables.quizzes, id=quiz_id)
        if lesson_id not in (None, quiz["lesson_id"]):
            raise NotFound()
        lesson = await hold_lesson(work, quiz["lesson_id"])
        row = await participant(work, lesson, person_id)
        if row["role"] != Role.LEARNER or question_id not in quiz["question_ids"]:
            raise NotFound()
        await work.lock_heads([row["chain"]])
        quiz = await work.one(tables.quizzes, id=quiz_id)
        if quiz["closed_at_ms"] is not None or at_ms > quiz["closes_at_ms"] or lesson.state != LIVE:
            raise TooLate()
        question = await work.one(tables.questions, id=question_id)
        picked = sorted(set(chosen))
        if not picked or any(not 0 <= index < len(question["options"]) for index in picked):
            raise BadInput()
        key = {"quiz_id": quiz_id, "person_id": person_id, "question_id": question_id}
        before = await work.find(tables.quiz_answers, **key)
        if before is None or before["chosen"] != picked:
            if before is None:
                await work.insert(tables.quiz_answers, **key, chosen=picked, at_ms=at_ms)
            else:
                await work.update(tables.quiz_answers, key, chosen=picked, at_ms=at_ms)
            fact = evidence.quiz_answer(at_ms, quiz_id)
            await record_evidence(work, lesson, person_id, fact, question=question_id, chosen=picked)
            if at_ms - quiz["progress_told_ms"] >= PROGRESS_EVERY_MS:
                await work.update(tables.quizzes, {"id": quiz_id}, progress_told_ms=at_ms)
                await _tell_progress(work, quiz)
            await tell_standing(work, lesson, [person_id], at_ms)
        answered = await work.many(tables.quiz_answers, quiz_id=quiz_id, person_id=person_id)
        return QuizAnswered(quiz_id, question_id, len(answered), len(quiz["question_ids"]))

    return await record.change(change)


async def close_quiz(record: Record, quiz_id: str, now_ms: int, fence: int | None = None) -> None:
    """Scores everyone (missing = 0) and sends each learner the own result. Idempotent. Raises NotFound, StaleFence."""

    async def change(work: UnitOfWork) -> None:
        quiz = await work.one(tables.quizzes, id=quiz_id)
        lesson = await hold_lesson(work, quiz["lesson_id"], fence=fence, alone=True)
        quiz = await work.one(tables.quizzes, id=quiz_id)
        if quiz["closed_at_ms"] is None:
            await _close(work, lesson, quiz, now_ms)

    await record.change(change)


async def close_open(work: UnitOfWork, lesson: Lesson) -> None:
    """Closes whatever quiz is still open at the end of the lesson."""
    for quiz in await work.many(tables.quizzes, lesson_id=lesson.id, closed_at_ms=None):
        await _close(work, lesson, quiz, work.now_ms)


async def _close(work: UnitOfWork, lesson: Lesson, quiz: RowMapping, now_ms: int) -> None:
    await work.update(tables.quizzes, {"id": quiz["id"]}, closed_at_ms=now_ms)
    questions = await _questions(work, quiz)
    correct = {row["id"]: row["correct"] for row in questions}
    answers = await _answers(work, quiz["id"])
    scores: dict[str, float] = {}
    drafts: list[Draft] = []
    for row in await work.many(tables.participants, "person_id", lesson_id=lesson.id, role=str(Role.LEARNER)):
        person_id = row["person_id"]
        mine = answers.get(person_id, {})
        scores[person_id] = score(correct, mine)
        body = {
            "lesson": lesson.id,
            "person": person_id,
            "quiz": quiz["id"],
            "hour_index": quiz["hour_index"],
            "score": scores[person_id],
            "chosen": mine,
            "correct": correct,
        }
        drafts.append(Draft(row["chain"], work.now_ms, QUIZ_SCORED, body))
    await work.append(drafts)
    await work.insert_all(
        tables.quiz_scores,
        [{"quiz_id": quiz["id"], "person_id": person_id, "score": value} for person_id, value in scores.items()],
    )
    mean = sum(scores.values()) / len(scores) if scores else None
    await _tell_progress(work, quiz)
    told: dict[str, Any] = {"quiz_id": quiz["id"], "hour_index": quiz["hour_index"]}
    work.tell(lesson.id, "staff", "quiz.closed", {**told, "mean_score": mean}, now_ms)
    for person_id, value in scores.items():
        items = [quiz_item(row, answers.get(person_id, {}).get(row["id"], [])) for row in questions]
        own = {**told, "score": value, "items": items, "mean_score": mean}
        work.tell(lesson.id, f"person:{person_id}", "quiz.closed", own, now_ms)


async def _questions(work: UnitOfWork, quiz: RowMapping) -> list[RowMapping]:
    rows = {row["id"]: row for row in await work.many(tables.questions, id=quiz["question_ids"])}
    return [rows[question_id] for question_id in quiz["question_ids"]]


async def _answers(work: UnitOfWork, quiz_id: str) -> dict[str, dict[str, list[int]]]:
    found: dict[str, dict[str, list[int]]] = {}
    for row in await work.many(tables.quiz_answers, quiz_id=quiz_id):
        found.setdefault(row["person_id"], {})[row["question_id"]] = row["chosen"]
    return found


async def own_answers(work: UnitOfWork, quiz_id: str, person_id: str) -> dict[str, list[int]]:
    rows = await work.many(tables.quiz_answers, quiz_id=quiz_id, person_id=person_id)
    return {row["question_id"]: row["chosen"] for row in rows}


async def _progress(work: UnitOfWork, quiz: RowMapping) -> QuizProgress:
    questions = await _questions(work, quiz)
    answers = await _answers(work, quiz["id"])
    learners = await work.many(tables.participants, lesson_id=quiz["lesson_id"], role=str(Role.LEARNER))
    answered = {row["id"]: sum(row["id"] in mine for mine in answers.values()) for row in questions}
    right = {
        row["id"]: sum(row["id"] in mine and is_right(row["correct"], mine[row["id"]]) for mine in answers.values())
        for row in questions
    }
    return QuizProgress(quiz["id"], len(learners), answered, right)


async def _tell_progress(work: UnitOfWork, quiz: RowMapping) -> None:
    progress = await _progress(work, quiz)
    told = {
        "quiz_id": progress.quiz_id,
        "learners": progress.learners,
        "answered": progress.answered,
        "right": progress.right,
    }
    work.tell(quiz["lesson_id"], "staff", "quiz.progress", told)


async def quiz_progress(record: Record, quiz_id: str) -> QuizProgress:
    """How the answers come in. Raises NotFound."""

    async def look(work: UnitOfWork) -> QuizProgress:
        return await _progress(work, await work.one(tables.quizzes, id=quiz_id))

    return await record.read(look)


async def quiz_view(work: UnitOfWork, quiz: RowMapping) -> QuizView:
    return QuizView(
        quiz_id=quiz["id"],
        lesson_id=quiz["lesson_id"],
        hour_index=quiz["hour_index"],
        opened_at_ms=quiz["opened_at_ms"],
        closes_at_ms=quiz["closes_at_ms"],
        closed_at_ms=quiz["closed_at_ms"],
        questions=[quiz_question(row) for row in await _questions(work, quiz)],
        opened_by=quiz["opened_by"],
    )


async def open_quiz_of(record: Record, lesson_id: str) -> QuizView | None:
    """The quiz running now."""

    async def look(work: UnitOfWork) -> QuizView | None:
        quiz = await running_quiz(work, lesson_id)
        return None if quiz is None else await quiz_view(work, quiz)

    return await record.read(look)


async def running_quiz(work: UnitOfWork, lesson_id: str) -> RowMapping | None:
    rows = await work.many(tables.quizzes, "hour_index", lesson_id=lesson_id, closed_at_ms=None)
    return rows[-1] if rows else None


async def quizzes_of(record: Record, lesson_id: str) -> list[QuizView]:
    """All quizzes of the lesson so far, by hour. Raises NotFound."""

    async def look(work: UnitOfWork) -> list[QuizView]:
        await read_lesson(work, lesson_id)
        return [
            await quiz_view(work, row) for row in await work.many(tables.quizzes, "hour_index", lesson_id=lesson_id)
        ]

    return await record.read(look)
