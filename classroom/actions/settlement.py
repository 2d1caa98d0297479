"""Settling an ended lesson: credit rows with the limits over all lessons of a person, and a signed checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import RowMapping

from classroom.domain.caps import LessonCredit, capped, shanghai_day
from classroom.domain.credit import CreditReport, Stretch
from classroom.domain.profile import RuleProfile, profile_of
from classroom.domain.roles import Role
from classroom.ledger.checkpoint import signed
from classroom.ledger.entries import Draft, person_chain
from classroom.ledger.evidence_entries import CREDIT_SETTLED
from classroom.standing import Lesson, evidence_of
from classroom.store import queries, tables
from classroom.store.unit_of_work import UnitOfWork, new_id


def packed(parts: Sequence[Stretch]) -> list[list[Any]]:
    """Stretches as JSON: [from_ms, to_ms, reason or null]."""
    return [[part.from_ms, part.to_ms, part.reason] for part in parts]


def unpacked(parts: Sequence[Sequence[Any]]) -> tuple[Stretch, ...]:
    return tuple(Stretch(start, end, reason is None, reason) for start, end, reason in parts)


def credited_ms(parts: Sequence[Stretch]) -> int:
    return sum(part.to_ms - part.from_ms for part in parts if part.credited)


def lesson_credit(row: RowMapping | Mapping[str, Any], profile: RuleProfile, own: Sequence[Stretch]) -> LessonCredit:
    """A lesson of `queries.lesson_rows` for the limits."""
    return LessonCredit(
        lesson_id=row["id"],
        course=f"{row['course_id']}|{row['term']}",
        course_hours=row["course_hours"],
        hour_ms=profile.ms("seconds_per_hour"),
        daily_cap_hours=profile.daily_cap_hours,
        intervals=tuple(own),
    )


def bearing_on(row: RowMapping, others: Iterable[RowMapping]) -> list[RowMapping]:
    """Those ended lessons that share a limit with this one, or with one that does, and so on.

    What a day leaves of one lesson depends on what a course leaves of another: none of them can be settled without all.
    """
    found: list[RowMapping] = []
    left, reached = list(others), [row]
    while reached:
        at = reached.pop()
        near = [other for other in left if bears_on(at, other)]
        left = [other for other in left if not bears_on(at, other)]
        found += near
        reached += near
    return found


def bears_on(row: RowMapping, other: RowMapping) -> bool:
    """Whether two ended lessons share a limit: a course in a term, or a calendar day."""
    if (row["course_id"], row["term"]) == (other["course_id"], other["term"]):
        return True
    return shanghai_day(row["started_at_ms"]) <= shanghai_day(other["ended_at_ms"]) and shanghai_day(
        other["started_at_ms"]
    ) <= shanghai_day(row["ended_at_ms"])


async def settle(work: UnitOfWork, lesson: Lesson, person_ids: Sequence[str] | None = None) -> None:
    """Writes the credit rows of an ended lesson (of these learners; None: all) and a checkpoint over its class.

    Rows of other lessons that a limit now reaches are rewritten too, each with its ledger entry and new checkpoint.
    """
    where: dict[str, Any] = {"lesson_id": lesson.id, "role": str(Role.LEARNER)}
    if person_ids is not None:
        where["person_id"] = list(person_ids)
    learners = [row["person_id"] for row in await work.many(tables.participants, "person_id", **where)]
    # Of two lessons that end together the second one sees what the first has used up of a day or a course.
    for person_id in learners:
        await work.lock_row(tables.people, person_id, shared=False)
    evidence = await evidence_of(work, lesson, learners)
    drafts: list[Draft] = []
    touched: dict[str, str] = {lesson.id: lesson.class_id}
    for person_id in learners:
        report = lesson.credit(evidence.get(person_id, []), work.now_ms)
        for changed in await _settle_person(work, lesson, person_id, report):
            touched[changed["lesson"]] = changed.pop("class_id")
            chain = person_chain(touched[changed["lesson"]], person_id)
            drafts.append(Draft(chain, work.now_ms, CREDIT_SETTLED, changed))
    await work.append(drafts)
    for lesson_id, class_id in sorted(touched.items()):
        await write_checkpoint(work, lesson_id, class_id)


async def _settle_person(
    work: UnitOfWork, lesson: Lesson, person_id: str, report: CreditReport
) -> list[dict[str, Any]]:
    stored = {row["lesson_id"]: row for row in await work.fetch(queries.results_of_person(person_id))}
    ended = await work.fetch(queries.ended_lessons_of(person_id))
    others = (row for row in ended if row["id"] != lesson.id and row["id"] in stored)
    rows = {row["id"]: row for row in bearing_on(lesson.row, others)}
    credits = [lesson_credit(lesson.row, lesson.profile, report.intervals)]
    profiles = {lesson.id: lesson.profile}
    for lesson_id, row in rows.items():
        profiles[lesson_id] = profile_of(row["profile"])
        credits.append(lesson_credit(row, profiles[lesson_id], unpacked(stored[lesson_id]["own"])))
    changes: list[dict[str, Any]] = []
    for lesson_id, parts in capped(credits).items():
        before = stored.get(lesson_id)
        mine = lesson_id == lesson.id
        values = {
            "credited_ms": credited_ms(parts),
            "hours": profiles[lesson_id].hours(credited_ms(parts)),
            "intervals": packed(parts),
            "settled_at_ms": work.now_ms,
        }
        if mine:
            values |= {"attended_ms": report.attended_ms, "state": report.state, "own": packed(report.intervals)}
        if before is None:
            await work.insert(tables.credit_results, lesson_id=lesson_id, person_id=person_id, **values)
        elif mine or before["intervals"] != values["intervals"]:
            await work.update(tables.credit_results, {"lesson_id": lesson_id, "person_id": person_id}, **values)
        else:
            continue
        text = json.dumps(values["intervals"], separators=(",", ":"))
        changes.append(
            {
                "class_id": lesson.class_id if mine else rows[lesson_id]["class_id"],
                "lesson": lesson_id,
                "person": person_id,
                "credited_ms": values["credited_ms"],
                "hours": values["hours"],
                "intervals_sha256": hashlib.sha256(text.encode()).hexdigest(),
            }
        )
    return changes


async def write_checkpoint(work: UnitOfWork, lesson_id: str, class_id: str) -> None:
    """Signs the Merkle root over the ends of all chains of the class as they are now."""
    heads = [(row["chain"], row["idx"], row["hash"]) for row in await work.fetch(queries.heads_of(class_id))]
    seq = len(await work.many(tables.checkpoints, lesson_id=lesson_id))
    checkpoint = signed(lesson_id, seq, work.now_ms, heads, work.signing_key)
    await work.insert(
        tables.checkpoints,
        id=new_id("m"),
        lesson_id=lesson_id,
        seq=seq,
        at_ms=checkpoint.at_ms,
        heads=[list(head) for head in checkpoint.heads],
        root=checkpoint.root,
        public_key=checkpoint.public_key,
        signature=checkpoint.signature,
    )
