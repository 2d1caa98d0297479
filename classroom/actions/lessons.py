"""Lessons: made, started, ended."""

from __future__ import annotations

import hashlib
import secrets

from classroom.actions.consents import FACE
from classroom.actions.pings import close_due, void_open
from classroom.actions.quizzes import close_open
from classroom.actions.settlement import settle
from classroom.domain.errors import BadInput, NotFound, WrongState
from classroom.domain.profile import profile_of
from classroom.domain.roles import Role
from classroom.ledger.entries import Draft
from classroom.ledger.evidence_entries import LESSON_ENDED, LESSON_STARTED
from classroom.lesson_views import lesson_view
from classroom.standing import ENDED, LIVE, SCHEDULED, hold_lesson, read_lesson, tell_standing
from classroom.store import queries, tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork, new_id
from classroom.tells import lesson_facts
from classroom.views import LearnerView, LessonView


async def create_lesson(
    record: Record,
    class_id: str,
    title: str,
    instructor_id: str,
    starts_at_ms: int,
    planned_hours: float,
    clock_factor: float = 1.0,
) -> str:
    """A scheduled lesson; freezes the class's rules scaled by the clock factor and draws the secret. Returns its id.

    Raises BadInput for more hours than a day may have (R-048, R-071), NotFound.
    """

    async def change(work: UnitOfWork) -> str:
        training_class = await work.one(tables.classes, id=class_id)
        instructor = await work.one(tables.people, id=instructor_id)
        if Role.INSTRUCTOR not in instructor["roles"] or await work.find(
            tables.enrolments, class_id=class_id, person_id=instructor_id
        ):
            # A learner who starts, ends and asks in their own class would decide their own credit.
            raise BadInput(
                "授课教师必须具有教师身份，且不是本班学员。", "An instructor is one, and no learner of the class."
            )
        profile = profile_of(training_class["profile"])
        if not 0 < planned_hours <= profile.daily_cap_hours:
            raise BadInput(
                f"每天不超过{profile.daily_cap_hours}学时。", f"A day has at most {profile.daily_cap_hours} hours."
            )
        if clock_factor <= 0:
            raise BadInput()
        lesson_id = new_id("l")
        await work.insert(
            tables.lessons,
            id=lesson_id,
            class_id=class_id,
            title=title,
            instructor_id=instructor_id,
            starts_at_ms=starts_at_ms,
            planned_hours=float(planned_hours),
            state=SCHEDULED,
            profile=profile.scaled(clock_factor).to_dict(),
            secret=secrets.token_bytes(32),
            fence=0,
        )
        return lesson_id

    return await record.change(change)


async def start_lesson(record: Record, lesson_id: str, actor_id: str, fence: int | None = None) -> LessonView:
    """Goes live now; a lesson already live stays as it is.

    Raises WrongState when it has ended, NotFound for anyone but its instructor, StaleFence.
    """

    async def change(work: UnitOfWork) -> LessonView:
        lesson = await hold_lesson(work, lesson_id, fence=fence, alone=True)
        if actor_id != lesson.row["instructor_id"]:
            raise NotFound()
        if lesson.state == ENDED:
            raise WrongState()
        if lesson.state == LIVE:
            return await lesson_view(work, lesson.row)
        await work.update(tables.lessons, {"id": lesson_id}, state=LIVE, started_at_ms=work.now_ms)
        body = {
            "lesson": lesson_id,
            "started_at_ms": work.now_ms,
            "planned_ms": lesson.planned_ms,
            "by": actor_id,
            "profile": lesson.profile.to_dict(),
            "course": lesson.row["course_id"],
            "course_hours": lesson.row["course_hours"],
            "term": lesson.row["term"],
            "secret_sha256": hashlib.sha256(lesson.row["secret"]).hexdigest(),
        }
        await work.append([Draft(lesson.chain, work.now_ms, LESSON_STARTED, body)])
        lesson = await read_lesson(work, lesson_id)
        view = await lesson_view(work, lesson.row)
        work.tell(lesson_id, "all", "class.started", {"lesson": lesson_facts(view)})
        await tell_standing(work, lesson)
        return view

    return await record.change(change)


async def end_lesson(record: Record, lesson_id: str, actor_id: str | None, fence: int | None = None) -> LessonView:
    """Ends a live lesson: pings and quizzes close, credit is settled, a signed checkpoint is written. Idempotent.

    `actor_id` None is the platform itself (its conductor). Raises WrongState before the start, NotFound for anyone but
    its instructor, StaleFence.
    """

    async def change(work: UnitOfWork) -> LessonView:
        lesson = await hold_lesson(work, lesson_id, fence=fence, states=(LIVE, ENDED), alone=True)
        if actor_id not in (None, lesson.row["instructor_id"]):
            raise NotFound()
        if lesson.state == ENDED:
            return await lesson_view(work, lesson.row)
        await close_due(work, lesson, work.now_ms)
        await void_open(work, lesson)
        await close_open(work, lesson)
        await work.update(tables.lessons, {"id": lesson_id}, state=ENDED, ended_at_ms=work.now_ms)
        body = {
            "lesson": lesson_id,
            "ended_at_ms": work.now_ms,
            "by": actor_id,
            "secret": lesson.row["secret"].hex(),
        }
        await work.append([Draft(lesson.chain, work.now_ms, LESSON_ENDED, body)])
        lesson = await read_lesson(work, lesson_id)
        await settle(work, lesson)
        view = await lesson_view(work, lesson.row)
        work.tell(lesson_id, "all", "class.ended", {"lesson": lesson_facts(view)})
        await tell_standing(work, lesson)
        return view

    return await record.change(change)


async def learners_of(record: Record, lesson_id: str) -> list[LearnerView]:
    """Everyone enrolled, whether in the lesson or not, by name. Raises NotFound."""

    async def look(work: UnitOfWork) -> list[LearnerView]:
        lesson = await read_lesson(work, lesson_id)
        rows = await work.fetch(queries.learner_rows(lesson.class_id))
        people = [row["id"] for row in rows]
        consents = await work.many(tables.consents, person_id=people, purpose=FACE, withdrawn_at_ms=None)
        consented = {row["person_id"] for row in consents}
        return [LearnerView(row["id"], row["name"], row["template_key"], row["id"] in consented) for row in rows]

    return await record.read(look)
