"""Reading, with authorisation: forbidden and absent give the same answer."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import RowMapping

from classroom.domain.errors import NotFound
from classroom.domain.profile import profile_of
from classroom.domain.roles import MAY_SEE_BOARD, Role, roles_in_lesson
from classroom.lesson_views import lesson_view
from classroom.store import queries, tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork
from classroom.views import Actor, ClassDetail, ClassView, InstructorView, LearnerProgress, LessonView


async def _roles(work: UnitOfWork, actor: Actor, row: RowMapping) -> frozenset[Role]:
    """The actor's roles in a lesson of `queries.lesson_rows`."""
    organisation = await work.one(tables.organisations, id=actor.organisation_id)
    enrolled = await work.find(tables.enrolments, class_id=row["class_id"], person_id=actor.person_id)
    return roles_in_lesson(
        person_id=actor.person_id,
        person_roles=actor.roles,
        organisation_id=actor.organisation_id,
        organisation_kind=organisation["kind"],
        instructor_id=row["instructor_id"],
        class_organisation_id=row["organisation_id"],
        enrolled=enrolled is not None,
    )


async def access_lesson(record: Record, actor: Actor, lesson_id: str) -> LessonView:
    """The lesson as this actor may see it. Raises NotFound when absent or forbidden."""

    async def look(work: UnitOfWork) -> LessonView:
        rows = await work.fetch(queries.lesson_rows(lesson_id=lesson_id))
        roles = await _roles(work, actor, rows[0]) if rows else frozenset()
        if not roles:
            raise NotFound()
        return await lesson_view(work, rows[0], roles, actor.person_id)

    return await record.read(look)


async def lessons_of(record: Record, actor: Actor) -> list[LessonView]:
    """Every lesson the actor has a role in, by start."""

    async def look(work: UnitOfWork) -> list[LessonView]:
        class_ids = [row["id"] for row in await _overseen(work, actor)]
        rows = await work.fetch(queries.lesson_rows(person_id=actor.person_id, class_ids=class_ids))
        return [await lesson_view(work, row, await _roles(work, actor, row), actor.person_id) for row in rows]

    return await record.read(look)


async def _overseen(work: UnitOfWork, actor: Actor) -> Sequence[RowMapping]:
    """Classes the actor may see as staff of an organisation."""
    organisation = await work.one(tables.organisations, id=actor.organisation_id)
    rows = await work.fetch(queries.class_rows())
    if Role.PROCTOR in actor.roles and organisation["kind"] == "platform":
        return rows
    if actor.roles & {Role.PROCTOR, Role.ORGANISER}:
        return [row for row in rows if row["organisation_id"] == actor.organisation_id]
    return []


def _class_view(row: RowMapping) -> ClassView:
    return ClassView(
        class_id=row["id"],
        title=row["title"],
        course_id=row["course_id"],
        course=row["course"],
        hours=row["hours"],
        organisation_id=row["organisation_id"],
        organisation=row["organisation"],
        profile_id=row["profile_id"],
        term=row["term"],
        learners=row["learners"],
        lessons=row["lessons"],
    )


async def classes_of(record: Record, actor: Actor) -> list[ClassView]:
    """Training classes the actor organises, oversees, teaches or attends."""

    async def look(work: UnitOfWork) -> list[ClassView]:
        seen = {row["id"] for row in await _overseen(work, actor)}
        seen |= {row["class_id"] for row in await work.many(tables.enrolments, person_id=actor.person_id)}
        seen |= {row["class_id"] for row in await work.many(tables.lessons, instructor_id=actor.person_id)}
        return [_class_view(row) for row in await work.fetch(queries.class_rows()) if row["id"] in seen]

    return await record.read(look)


async def class_detail(record: Record, actor: Actor, class_id: str) -> ClassDetail:
    """One class with its learners and lessons, for staff of the class. Raises NotFound."""

    async def look(work: UnitOfWork) -> ClassDetail:
        overseen = {row["id"]: row for row in await _overseen(work, actor)}
        rows = await work.fetch(queries.lesson_rows(class_ids=[class_id]))
        taught = any(row["instructor_id"] == actor.person_id for row in rows)
        row = overseen.get(class_id)
        if row is None and taught:
            row = next(row for row in await work.fetch(queries.class_rows()) if row["id"] == class_id)
        if row is None:
            raise NotFound()
        credited: dict[str, list[tuple[int, float]]] = {}
        for result in await work.fetch(queries.results_of_class(class_id)):
            profile = profile_of(result["profile"])
            entry = (result["credited_ms"], result["credited_ms"] / 1000 / profile.seconds_per_hour)
            credited.setdefault(result["person_id"], []).append(entry)
        unit = profile_of(row["profile"]).hour_unit
        learners = [
            LearnerProgress(
                person_id=person["id"],
                login=person["login"],
                name=person["name"],
                credited_s=sum(ms for ms, _ in credited.get(person["id"], [])) / 1000,
                hours=sum(hours for _, hours in credited.get(person["id"], [])) // unit * unit,
                needed_hours=row["hours"],
                face_enrolled=person["template_key"] is not None,
            )
            for person in await work.fetch(queries.learner_rows(class_id))
        ]
        lessons = [await lesson_view(work, each, await _roles(work, actor, each), actor.person_id) for each in rows]
        return ClassDetail(_class_view(row), learners, lessons)

    return await record.read(look)


async def instructors_of(record: Record, actor: Actor) -> list[InstructorView]:
    """Instructors of the actor's own organisation, by name; for its organisers. Raises NotFound for anyone else."""

    async def look(work: UnitOfWork) -> list[InstructorView]:
        if Role.ORGANISER not in actor.roles:
            raise NotFound()
        people = await work.many(tables.people, organisation_id=actor.organisation_id)
        found = [InstructorView(row["id"], row["name"]) for row in people if Role.INSTRUCTOR in row["roles"]]
        return sorted(found, key=lambda each: (each.name, each.person_id))

    return await record.read(look)


def may_see_board(view: LessonView) -> bool:
    """Whether the one who was given this view may see everyone's credit (score board, export, verify)."""
    return bool(view.roles_here & MAY_SEE_BOARD)
