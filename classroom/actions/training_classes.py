"""Training classes 培训班 and who is enrolled in them."""

from __future__ import annotations

from collections.abc import Sequence

from classroom.domain.errors import BadInput
from classroom.seed.profiles import PROFILES
from classroom.store import tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork, new_id


async def create_class(
    record: Record, course_id: str, organisation_id: str, title: str, profile_id: str, term: str = ""
) -> str:
    """A new training class, which keeps the rule profile named as it reads today. Returns its id.

    `term` is the training term in which a course counts once (R-069). Raises BadInput for an unknown profile (R-002).
    """
    profile = PROFILES.get(profile_id)
    if profile is None:
        raise BadInput("没有适用的培训规则。", "There is no such rule profile.")

    async def change(work: UnitOfWork) -> str:
        await work.one(tables.courses, id=course_id)
        await work.one(tables.organisations, id=organisation_id)
        class_id = new_id("c")
        await work.insert(
            tables.classes,
            id=class_id,
            course_id=course_id,
            organisation_id=organisation_id,
            title=title,
            profile_id=profile_id,
            profile=profile.to_dict(),
            term=term,
            created_at_ms=work.now_ms,
        )
        return class_id

    return await record.change(change)


async def enrol(record: Record, class_id: str, person_ids: Sequence[str]) -> int:
    """Enrols people; those already enrolled stay. Returns how many are new. Raises NotFound."""

    async def change(work: UnitOfWork) -> int:
        await work.one(tables.classes, id=class_id)
        new = 0
        for person_id in dict.fromkeys(person_ids):
            await work.one(tables.people, id=person_id)
            new += await work.insert_new(
                tables.enrolments, class_id=class_id, person_id=person_id, created_at_ms=work.now_ms
            )
        return new

    return await record.change(change)
