"""Reading a lesson: credit, snapshot, score board, plan."""

from __future__ import annotations

import json
from typing import Any

from classroom import lesson_views
from classroom.actions.quizzes import own_answers, quiz_view, running_quiz
from classroom.actions.settlement import unpacked
from classroom.domain.credit import ABSENT, CreditReport
from classroom.domain.errors import WrongState
from classroom.domain.evidence import ANSWERED, MISSED, VOID
from classroom.domain.lesson_plan import LessonPlan
from classroom.domain.quizzes import mean_score
from classroom.domain.roles import STAFF, Role
from classroom.standing import LIVE, Lesson, faults_of, participant_role, read_lesson
from classroom.standing import evidence_of as evidence_by_person
from classroom.store import queries, tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork
from classroom.tells import chat_message, credit_strip, lesson_facts, open_ping, open_quiz, participant_row, seen_by_all
from classroom.views import LessonSnapshot, LessonView, ScoreRow

CHAT_TAIL = 100  # messages a joining page gets


async def credit_of(record: Record, lesson_id: str, person_id: str) -> CreditReport:
    """Credit recomputed from the ledger now, before the limits over other lessons. Raises NotFound."""

    async def look(work: UnitOfWork) -> CreditReport:
        return await _credit(work, await read_lesson(work, lesson_id), person_id)

    return await record.read(look)


async def _credit(work: UnitOfWork, lesson: Lesson, person_id: str) -> CreditReport:
    evidence = await evidence_by_person(work, lesson, [person_id])
    return lesson.credit(evidence.get(person_id) or await faults_of(work, lesson), work.now_ms)


async def lesson_snapshot(record: Record, lesson_id: str, viewer_person_id: str) -> LessonSnapshot:
    """Everything a joining page needs, as this viewer may see it. Raises NotFound for strangers."""

    async def look(work: UnitOfWork) -> LessonSnapshot:
        lesson = await read_lesson(work, lesson_id)
        role = await participant_role(work, lesson, viewer_person_id)
        staff = role in STAFF
        rows = {row["person_id"]: row for row in await work.fetch(queries.participant_rows(lesson_id))}
        participants = []
        for person_id, row in rows.items():
            full = (row["told"] or {}).get("row") or participant_row(row, None)
            participants.append(full if staff or person_id == viewer_person_id else seen_by_all(full))
        if staff:
            for learner in await work.fetch(queries.learner_rows(lesson.class_id)):
                if learner["id"] not in rows:
                    participants.append(_not_here(learner["id"], learner["name"]))
        quiz = await running_quiz(work, lesson_id)
        quiz_payload = None
        if quiz is not None:
            answered = await own_answers(work, quiz["id"], viewer_person_id)
            quiz_payload = open_quiz(await quiz_view(work, quiz), answered)
        pings = await work.many(
            tables.pings, "opened_at_ms", lesson_id=lesson_id, person_id=viewer_person_id, state="open"
        )
        strip = None
        if role == Role.LEARNER:
            report = await _credit(work, lesson, viewer_person_id)
            strip = credit_strip(viewer_person_id, report, lesson.planned_ms / 1000)
        chat = await work.fetch(queries.chat_tail(lesson_id, CHAT_TAIL))
        return LessonSnapshot(
            lesson=lesson_facts(await lesson_views.lesson_view(work, lesson.row)),
            participants=participants,
            chat=[chat_message(row) for row in reversed(chat)],
            open_ping=open_ping(pings[-1]) if pings else None,
            open_quiz=quiz_payload,
            credit=strip,
        )

    return await record.read(look)


def _not_here(person_id: str, name: str) -> dict[str, Any]:
    return participant_row(
        {
            "person_id": person_id,
            "name": name,
            "role": str(Role.LEARNER),
            "connected": False,
            "hand_raised": False,
            "publication_id": None,
            "last_outcome": None,
            "last_check_at_ms": None,
        },
        None,
    )


async def score_board(record: Record, lesson_id: str) -> list[ScoreRow]:
    """One row per enrolled learner, by name; settled numbers once the lesson has ended. Raises NotFound."""

    async def look(work: UnitOfWork) -> list[ScoreRow]:
        lesson = await read_lesson(work, lesson_id)
        evidence = await evidence_by_person(work, lesson)
        connected = {
            row["person_id"]: row["connected"] for row in await work.many(tables.participants, lesson_id=lesson_id)
        }
        settled = {row["person_id"]: row for row in await work.many(tables.credit_results, lesson_id=lesson_id)}
        pings = await work.many(tables.pings, lesson_id=lesson_id)
        checks = await work.many(tables.face_checks, lesson_id=lesson_id)
        quizzes = [row for row in await work.many(tables.quizzes, lesson_id=lesson_id) if row["closed_at_ms"]]
        scores = await work.many(tables.quiz_scores, quiz_id=[row["id"] for row in quizzes])
        board: list[ScoreRow] = []
        for learner in await work.fetch(queries.learner_rows(lesson.class_id)):
            person_id = learner["id"]
            report = lesson.credit(evidence.get(person_id, []), work.now_ms)
            result = settled.get(person_id)
            credited_ms, reasons = report.credited_ms, report.weights_ms()
            if result is not None:
                credited_ms = result["credited_ms"]
                reasons = _weights_ms(result["intervals"])
            mine = [row for row in pings if row["person_id"] == person_id]
            verdicts: dict[str, int] = {}
            for check in checks:
                if check["person_id"] == person_id and check["outcome"] is not None:
                    verdicts[check["outcome"]] = verdicts.get(check["outcome"], 0) + 1
            marks = [row["score"] for row in scores if row["person_id"] == person_id]
            board.append(
                ScoreRow(
                    person_id=person_id,
                    name=learner["name"],
                    state=report.state if connected.get(person_id) else ABSENT,
                    credited_s=credited_ms / 1000,
                    attended_s=report.attended_ms / 1000,
                    needed_s=lesson.planned_ms / 1000,
                    hours=lesson.profile.hours(credited_ms),
                    pings={
                        "sent": len(mine),
                        "answered": sum(row["state"] == ANSWERED for row in mine),
                        "missed": sum(row["state"] == MISSED for row in mine),
                        "void": sum(row["state"] == VOID for row in mine),
                    },
                    verdicts=verdicts,
                    quiz_score=mean_score(marks, len(quizzes)) if quizzes else None,
                    reasons=list(reasons),
                )
            )
        return board

    return await record.read(look)


def _weights_ms(intervals: list[list[Any]]) -> dict[str, int]:
    parts = unpacked(intervals)
    return CreditReport(parts, 0, 0, ABSENT, None, None).weights_ms()


async def plan_of(record: Record, lesson_id: str) -> LessonPlan:
    """The plan with its secret: for the conductor only. Raises NotFound, WrongState before the start."""

    async def look(work: UnitOfWork) -> LessonPlan:
        lesson = await read_lesson(work, lesson_id)
        if lesson.row["started_at_ms"] is None:
            raise WrongState()
        return LessonPlan(
            lesson_id, lesson.row["secret"], lesson.row["started_at_ms"], lesson.planned_ms, lesson.profile
        )

    return await record.read(look)


async def lesson_view(record: Record, lesson_id: str) -> LessonView:
    """The lesson as the platform itself sees it (no actor): for conductors and jobs. Raises NotFound."""

    async def look(work: UnitOfWork) -> LessonView:
        return await lesson_views.lesson_view(work, (await read_lesson(work, lesson_id)).row)

    return await record.read(look)


async def live_lessons(record: Record) -> list[str]:
    """Ids of lessons that are live: each needs a conductor."""

    async def look(work: UnitOfWork) -> list[str]:
        return [row["id"] for row in await work.many(tables.lessons, "started_at_ms", "id", state=LIVE)]

    return await record.read(look)


async def newest_lesson(record: Record) -> str | None:
    """The id of the lesson that began last; None before any has begun."""

    async def look(work: UnitOfWork) -> str | None:
        begun = [row for row in await work.many(tables.lessons, "started_at_ms", "id") if row["started_at_ms"]]
        return str(begun[-1]["id"]) if begun else None

    return await record.read(look)


async def evidence_of(record: Record, lesson_id: str, person_id: str) -> list[dict[str, Any]]:
    """The ledger entries behind a credit, oldest first: chain, idx, at_ms, kind, body, hash (R-056)."""

    async def look(work: UnitOfWork) -> list[dict[str, Any]]:
        await read_lesson(work, lesson_id)
        found = []
        for row in await work.fetch(queries.lesson_entries(lesson_id, [person_id])):
            body = json.loads(row["body"])
            if body.get("lesson") == lesson_id:
                found.append({**{name: row[name] for name in ("chain", "idx", "at_ms", "kind", "hash")}, "body": body})
        return found

    return await record.read(look)
