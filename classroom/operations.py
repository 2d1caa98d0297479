"""What the platform's operators may see of lessons and people: names, so that a number on their page has an owner."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from classroom.domain.errors import NotFound
from classroom.domain.roles import may_operate
from classroom.store import queries, tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork
from classroom.views import Actor


@dataclass(frozen=True)
class LessonName:
    lesson_id: str
    title: str
    class_name: str
    organisation: str
    state: str


@dataclass(frozen=True)
class OperationsNames:
    """What is known of the ids that were asked for; others (a media node, a device check) are left out."""

    lessons: dict[str, LessonName]
    people: dict[str, str]


async def operates(record: Record, actor: Actor) -> bool:
    """Whether this person runs the platform."""

    async def look(work: UnitOfWork) -> bool:
        organisation = await work.one(tables.organisations, id=actor.organisation_id)
        return may_operate(actor.roles, organisation["kind"])

    return await record.read(look)


async def operations_names(
    record: Record, actor: Actor, lesson_ids: Iterable[str], person_ids: Iterable[str]
) -> OperationsNames:
    """Names for an operator. Raises NotFound for anyone else, as for what does not exist."""
    if not await operates(record, actor):
        raise NotFound()
    wanted_lessons, wanted_people = sorted(set(lesson_ids)), sorted(set(person_ids))

    async def look(work: UnitOfWork) -> OperationsNames:
        lessons = await work.fetch(queries.lesson_names(wanted_lessons))
        people = await work.fetch(queries.person_names(wanted_people))
        return OperationsNames(
            {
                row["id"]: LessonName(row["id"], row["title"], row["class_name"], row["organisation"], row["state"])
                for row in lessons
            },
            {row["id"]: row["name"] for row in people},
        )

    return await record.read(look)
