"""Face checks: opened, frame taken, judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import RowMapping

from classroom.actions.consents import FACE, consent_in_force
from classroom.actions.settlement import settle
from classroom.domain import evidence
from classroom.domain.errors import BadInput, ConsentRequired, FaceRequired, WrongState
from classroom.domain.evidence import Outcome
from classroom.standing import ENDED, LIVE, hold_lesson, participant, read_lesson, record_evidence, tell_standing
from classroom.store import tables
from classroom.store.record import Record
from classroom.store.unit_of_work import LostRace, UnitOfWork, new_id
from classroom.views import FaceCheck

#: Advice the learner gets with an outcome; MATCH needs none.
NOTES = {
    Outcome.NO_FACE: "look_at_camera",
    Outcome.MANY_FACES: "alone_please",
    Outcome.UNSURE: "more_light",
    Outcome.NO_FRAME: "turn_on_camera",
    Outcome.MISMATCH: "wait_for_proctor",
    Outcome.SPOOF_SUSPECTED: "wait_for_proctor",
}
#: How long after the end a verdict on a frame taken before it is still written (a worker may have been busy).
LATE_VERDICT_MS = 10 * 60_000


async def open_face_check(
    record: Record,
    lesson_id: str,
    person_id: str,
    asked_by: str | None,
    plan_index: int | None,
    at_ms: int,
    fence: int | None = None,
) -> str:
    """Opens a check; a plan_index already opened returns its check. Returns the check id.

    Raises ConsentRequired, FaceRequired (no frame leaves without both, P-030), WrongState, NotFound, StaleFence.
    """

    async def change(work: UnitOfWork) -> str:
        lesson = await hold_lesson(work, lesson_id, fence=fence, states=(LIVE,))
        await participant(work, lesson, person_id)
        if plan_index is not None:
            before = await work.find(
                tables.face_checks, lesson_id=lesson_id, person_id=person_id, plan_index=plan_index
            )
            if before is not None:
                return str(before["id"])
        if await consent_in_force(work, person_id, FACE) is None:
            raise ConsentRequired()
        if await work.find(tables.face_templates, person_id=person_id) is None:
            raise FaceRequired()
        check_id = new_id("f")
        await work.insert(
            tables.face_checks,
            id=check_id,
            lesson_id=lesson_id,
            person_id=person_id,
            plan_index=plan_index,
            asked_by=asked_by,
            asked_at_ms=at_ms,
        )
        return check_id

    return await record.change(change)


async def frame_taken(
    record: Record, check_id: str, frame_sha256: str, ssrc: int, rtp_ts: int, taken_at_ms: int
) -> None:
    """The tap took the frame: only now the learner hears of the check. A repeat changes nothing. Raises NotFound."""

    async def change(work: UnitOfWork) -> None:
        check = await work.one(tables.face_checks, id=check_id)
        if check["taken_at_ms"] is not None:
            return
        changed = await work.update(
            tables.face_checks,
            {"id": check_id, "taken_at_ms": None},
            frame_sha256=frame_sha256,
            ssrc=ssrc,
            rtp_ts=rtp_ts,
            taken_at_ms=taken_at_ms,
        )
        if changed:
            told = {"check_id": check_id, "person_id": check["person_id"], "taken_at_ms": taken_at_ms}
            await _tell_both(work, check, "check.announced", told)

    await record.change(change)


async def record_face_check(record: Record, check_id: str, verdict: Mapping[str, Any]) -> bool:
    """Writes the verdict once: rule, ledger, outbox. Returns False when this check had a verdict before.

    NOT_JUDGED on a frame that was taken is our own failure and no last word: the judge's, when it comes after all, is
    written beside it, so that a cheat gains nothing from a busy judge.

    `verdict` has `outcome` and whatever else the judge knows (distance, model, threshold, faces, size, ...); all of it
    is kept in the ledger. A verdict on a frame taken before the end of the lesson counts when it comes soon after; the
    lesson is then settled anew. Raises BadInput for an unknown outcome, WrongState when it or its frame comes too late,
    NotFound.
    """
    if verdict.get("outcome") not in set(Outcome):
        raise BadInput()
    outcome = Outcome(verdict["outcome"])

    async def change(work: UnitOfWork) -> bool:
        check = await work.one(tables.face_checks, id=check_id)
        after_the_end = (await read_lesson(work, check["lesson_id"])).state == ENDED
        lesson = await hold_lesson(work, check["lesson_id"], alone=after_the_end)
        if lesson.state == ENDED and not after_the_end:
            raise LostRace()
        person_id = check["person_id"]
        await work.lock_heads([lesson.chain_of(person_id)])
        check = await work.one(tables.face_checks, id=check_id)
        before = check["outcome"]
        given_up = before == Outcome.NOT_JUDGED and check["taken_at_ms"] is not None
        if before is not None and not (given_up and outcome is not Outcome.NOT_JUDGED):
            return False
        at_ms = check["asked_at_ms"] if check["taken_at_ms"] is None else check["taken_at_ms"]
        ended_ms = lesson.row["ended_at_ms"]
        if ended_ms is not None and (at_ms > ended_ms or work.now_ms > ended_ms + LATE_VERDICT_MS):
            raise WrongState()
        await work.update(tables.face_checks, {"id": check_id}, outcome=outcome, judged_at_ms=work.now_ms)
        template = await work.find(tables.face_templates, person_id=person_id)
        details = {
            # Which face it was compared with: one exchanged between two lessons shows in the evidence.
            "template_key": None if template is None else template["template_key"],
            "verdict": dict(verdict),
            "plan_index": check["plan_index"],
            "asked_by": check["asked_by"],
            "asked_at_ms": check["asked_at_ms"],
            "frame_sha256": check["frame_sha256"],
            "ssrc": check["ssrc"],
            "rtp_ts": check["rtp_ts"],
        }
        await record_evidence(work, lesson, person_id, evidence.face(at_ms, outcome, check_id), **details)
        await work.update(
            tables.participants,
            {"lesson_id": lesson.id, "person_id": person_id},
            last_outcome=outcome,
            last_check_at_ms=at_ms,
        )
        distance = verdict.get("distance")
        told = {
            "check_id": check_id,
            "person_id": person_id,
            "outcome": str(outcome),
            "distance": float(distance) if isinstance(distance, int | float) else None,
            "at_ms": at_ms,
            "note": NOTES.get(outcome),
        }
        await _tell_both(work, check, "check.result", told)
        await tell_standing(work, lesson, [person_id], at_ms)
        if lesson.state == ENDED:
            await settle(work, lesson, [person_id])
        return True

    return await record.change(change)


async def _tell_both(work: UnitOfWork, check: RowMapping, kind: str, told: dict[str, Any]) -> None:
    # The distance is for staff: told to everyone, it would teach a cheat how close a picture comes.
    theirs = {**told, "distance": None} if "distance" in told else told
    work.tell(check["lesson_id"], f"person:{check['person_id']}", kind, theirs)
    work.tell(check["lesson_id"], "staff", kind, told)


def _view(row: RowMapping) -> FaceCheck:
    return FaceCheck(
        check_id=row["id"],
        lesson_id=row["lesson_id"],
        person_id=row["person_id"],
        plan_index=row["plan_index"],
        asked_at_ms=row["asked_at_ms"],
        taken_at_ms=row["taken_at_ms"],
        outcome=row["outcome"],
        judged_at_ms=row["judged_at_ms"],
    )


async def find_check(record: Record, check_id: str) -> FaceCheck:
    """A check as it stands. Raises NotFound."""

    async def look(work: UnitOfWork) -> FaceCheck:
        return _view(await work.one(tables.face_checks, id=check_id))

    return await record.read(look)


async def checks_of(record: Record, lesson_id: str, person_id: str | None = None) -> list[FaceCheck]:
    """The checks of a lesson (of one person), oldest first: what a new conductor needs to go on."""
    where = {"lesson_id": lesson_id} if person_id is None else {"lesson_id": lesson_id, "person_id": person_id}

    async def look(work: UnitOfWork) -> list[FaceCheck]:
        return [_view(row) for row in await work.many(tables.face_checks, "asked_at_ms", "id", **where)]

    return await record.read(look)
