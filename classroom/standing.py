"""Where everyone in a lesson stands: evidence out of the ledger, credit out of evidence, and the tells that follow.

Every action that writes evidence ends in `tell_standing`: it recomputes the people concerned and puts into the outbox
what has changed for them. Learners see of each other only name, role, connection and raised hand; everything else goes
to staff, and a learner's own credit to that learner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import RowMapping

from classroom.domain.credit import CreditReport, credit
from classroom.domain.errors import NotFound, StaleFence, WrongState
from classroom.domain.evidence import Evidence
from classroom.domain.profile import RuleProfile, profile_of
from classroom.domain.roles import Role
from classroom.ledger import evidence_entries
from classroom.ledger.entries import Draft, lesson_chain, person_chain
from classroom.store import queries, tables
from classroom.store.unit_of_work import UnitOfWork
from classroom.tells import credit_strip, participant_row, seen_by_all

SCHEDULED, LIVE, ENDED = "scheduled", "live", "ended"


@dataclass(frozen=True)
class Lesson:
    """A lesson inside a transaction."""

    row: RowMapping  # of queries.lesson_rows
    profile: RuleProfile

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def class_id(self) -> str:
        return str(self.row["class_id"])

    @property
    def state(self) -> str:
        return str(self.row["state"])

    @property
    def planned_ms(self) -> int:
        return round(self.row["planned_hours"] * self.profile.seconds_per_hour * 1000)

    @property
    def chain(self) -> str:
        return lesson_chain(self.class_id, self.id)

    def chain_of(self, person_id: str) -> str:
        return person_chain(self.class_id, person_id)

    def credit(self, evidence: Iterable[Evidence], now_ms: int) -> CreditReport:
        """Credit under this lesson's rules; before the start there is no time to credit."""
        started_ms = self.row["started_at_ms"]
        return credit(
            self.profile, evidence, now_ms if started_ms is None else started_ms, self.row["ended_at_ms"], now_ms
        )


async def read_lesson(work: UnitOfWork, lesson_id: str) -> Lesson:
    """The lesson, not locked. Raises NotFound."""
    rows = await work.fetch(queries.lesson_rows(lesson_id=lesson_id))
    if not rows:
        raise NotFound()
    return Lesson(rows[0], profile_of(rows[0]["profile"]))


async def hold_lesson(
    work: UnitOfWork, lesson_id: str, *, fence: int | None = None, states: Sequence[str] = (), alone: bool = False
) -> Lesson:
    """The lesson, kept from changing its state until the commit (`alone`: from any other writer too).

    Raises NotFound, WrongState when its state is none of `states`, StaleFence when a newer conductor has written.
    """
    if fence is not None:
        await work.execute(queries.advance_fence(lesson_id, fence))
    await work.lock_row(tables.lessons, lesson_id, shared=not alone)
    lesson = await read_lesson(work, lesson_id)
    if fence is not None and lesson.row["fence"] > fence:
        raise StaleFence()
    if states and lesson.state not in states:
        raise WrongState()
    return lesson


async def participant(
    work: UnitOfWork, lesson: Lesson, person_id: str, role: str | None = None, seat_id: str = ""
) -> RowMapping:
    """The person's row in the lesson, made when they first appear. Raises NotFound for people with no role in it."""
    found = await work.find(tables.participants, lesson_id=lesson.id, person_id=person_id)
    if found is not None:
        if role is not None and role != found["role"]:
            await work.update(tables.participants, {"lesson_id": lesson.id, "person_id": person_id}, role=role)
            return await work.one(tables.participants, lesson_id=lesson.id, person_id=person_id)
        return found
    chain = lesson.chain_of(person_id)
    head = (await work.lock_heads([chain]))[chain]
    await work.insert_new(
        tables.participants,
        lesson_id=lesson.id,
        person_id=person_id,
        role=role or await _role_of(work, lesson, person_id),
        chain=chain,
        first_idx=0 if head is None else head.idx + 1,
        seat_id=seat_id,
        connected=False,
        hand_raised=False,
        told={},
    )
    return await work.one(tables.participants, lesson_id=lesson.id, person_id=person_id)


async def participant_role(work: UnitOfWork, lesson: Lesson, person_id: str) -> str:
    """What the person takes part as, or would. Raises NotFound for strangers."""
    found = await work.find(tables.participants, lesson_id=lesson.id, person_id=person_id)
    return await _role_of(work, lesson, person_id) if found is None else str(found["role"])


async def _role_of(work: UnitOfWork, lesson: Lesson, person_id: str) -> str:
    if lesson.row["instructor_id"] == person_id:
        return Role.INSTRUCTOR
    if await work.find(tables.enrolments, class_id=lesson.class_id, person_id=person_id):
        return Role.LEARNER
    person = await work.one(tables.people, id=person_id)
    for role in (Role.PROCTOR, Role.ORGANISER):
        if role in person["roles"]:
            return role
    raise NotFound()


async def record_evidence(work: UnitOfWork, lesson: Lesson, person_id: str, evidence: Evidence, **details: Any) -> None:
    """Appends one evidence to the person's chain."""
    await work.append([evidence_draft(work, lesson, person_id, evidence, **details)])


def evidence_draft(work: UnitOfWork, lesson: Lesson, person_id: str, evidence: Evidence, **details: Any) -> Draft:
    chain = lesson.chain_of(person_id)
    return evidence_entries.draft(chain, lesson.id, evidence, work.now_ms, person=person_id, **details)


async def faults_of(work: UnitOfWork, lesson: Lesson) -> list[Evidence]:
    """The faults of the server during the lesson: they belong to everyone's evidence."""
    rows = await work.many(tables.ledger_entries, "idx", chain=lesson.chain, kind="FAULT")
    found = (evidence_entries.read_for_lesson(lesson.id, row["kind"], row["body"]) for row in rows)
    return [evidence for evidence in found if evidence is not None]


async def evidence_of(
    work: UnitOfWork, lesson: Lesson, person_ids: Sequence[str] | None = None
) -> dict[str, list[Evidence]]:
    """Evidence by person (of those who have any), the lesson's faults included."""
    faults = await faults_of(work, lesson)
    found: dict[str, list[Evidence]] = {}
    for row in await work.fetch(queries.lesson_entries(lesson.id, person_ids)):
        evidence = evidence_entries.read_for_lesson(lesson.id, row["kind"], row["body"])
        if evidence is not None:
            found.setdefault(row["person_id"], list(faults)).append(evidence)
    return found


async def tell_standing(
    work: UnitOfWork, lesson: Lesson, person_ids: Iterable[str] | None = None, at_ms: int | None = None
) -> dict[str, CreditReport]:
    """Recomputes these people (None: everyone in the lesson) and tells what changed. Returns learners' reports."""
    wanted = None if person_ids is None else sorted(set(person_ids))
    now_ms = max(work.now_ms, at_ms or 0)
    evidence = await evidence_of(work, lesson, wanted)
    reports: dict[str, CreditReport] = {}
    query = queries.participant_rows(lesson.id)
    if wanted is not None:
        query = query.where(tables.participants.c.person_id.in_(wanted))
    for row in await work.fetch(query):
        person_id = row["person_id"]
        report = None
        if row["role"] == Role.LEARNER:
            report = reports[person_id] = lesson.credit(evidence.get(person_id, []), now_ms)
        await _tell_one(work, lesson, row, report, now_ms)
    return reports


async def _tell_one(
    work: UnitOfWork, lesson: Lesson, row: RowMapping, report: CreditReport | None, now_ms: int
) -> None:
    person_id, told = row["person_id"], row["told"] or {}
    full = participant_row(row, report)
    before = told.get("row")
    strip_key = None if report is None else [report.credited_ms, report.state, report.asked_of_you, report.alarm]
    if before == full and told.get("strip") == strip_key:
        return
    # First to all, then to staff, who hear both: the newest row wins, and theirs is the whole one.
    if before is None or seen_by_all(before) != seen_by_all(full):
        work.tell(lesson.id, "all", "participant.changed", {"participant": seen_by_all(full)}, now_ms)
        work.tell(lesson.id, "staff", "participant.changed", {"participant": full}, now_ms)
    elif before != full:
        work.tell(lesson.id, "staff", "participant.changed", {"participant": full}, now_ms)
    if report is not None and told.get("strip") != strip_key:
        strip = credit_strip(person_id, report, lesson.planned_ms / 1000)
        work.tell(lesson.id, f"person:{person_id}", "credit.changed", {"credit": strip}, now_ms)
    await work.update(
        tables.participants,
        {"lesson_id": lesson.id, "person_id": person_id},
        told={"row": full, "strip": strip_key},
    )
