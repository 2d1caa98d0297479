"""Training classes 培训班 and who is enrolled in them."""

from __future__ import annotations

from classroom.store.record import Record


async def create_class(
    record: Record, course_id: str, organisation_id: str, title: str, profile_id: str, term: str = ""
) -> str:
    """A new training class under the rule profile named. Returns its id."""
    raise NotImplementedError


async def enrol(record: Record, class_id: str, person_ids: list[str]) -> int:
    """Enrols people; those already enrolled stay. Returns how many are new."""
    raise NotImplementedError
