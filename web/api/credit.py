"""What a lesson earned: score board, one learner's credit with its evidence, spreadsheet, and the audit of both."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel
from quart import Blueprint, Response
from quart_schema import validate_response

from classroom import (
    LessonView,
    access_lesson,
    credit_of,
    credit_strip,
    evidence_of,
    score_board,
    score_board_xlsx,
    verify_lesson,
)
from signaling.protocol import CreditStrip
from web.auth import current_actor
from web.parts import current_parts
from web.refusals import Refusal

blueprint = Blueprint("credit", __name__)

MEASURES = frozenset({"distance", "match_up_to", "mismatch_from", "liveness", "liveness_score"})
STAFF_ROLES = frozenset({"instructor", "proctor", "organiser"})
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class PingCounts(BaseModel):
    sent: int
    answered: int
    missed: int


class ScoreRow(BaseModel):
    person_id: str
    name: str
    state: str
    credited_s: float
    attended_s: float
    needed_s: float
    pings: PingCounts
    verdicts: dict[str, int]
    quiz_score: float | None
    reasons: list[str]


class CreditAnswer(BaseModel):
    credit: CreditStrip
    evidence: list[dict[str, Any]]


class BrokenRow(BaseModel):
    chain: str
    idx: int


class VerifyAnswer(BaseModel):
    result: str
    broken_row: BrokenRow | None
    differences: list[dict[str, Any]]
    lines: list[str]


def is_staff(view: LessonView) -> bool:
    return not STAFF_ROLES.isdisjoint(str(role) for role in view.roles_here)


async def require_staff(lesson_id: str) -> None:
    """Raises not_found, as for an absent lesson, unless the caller runs or watches over this one (R-012)."""
    if not is_staff(await access_lesson(current_parts().record, current_actor(), lesson_id)):
        raise Refusal("not_found")


@blueprint.get("/api/lessons/<lesson_id>/score-board")
@validate_response(list[ScoreRow])
async def get_score_board(lesson_id: str) -> list[dict[str, Any]]:
    await require_staff(lesson_id)
    return [asdict(row) for row in await score_board(current_parts().record, lesson_id)]


@blueprint.get("/api/lessons/<lesson_id>/export.xlsx")
async def get_export(lesson_id: str) -> Response:
    await require_staff(lesson_id)
    sheet = await score_board_xlsx(current_parts().record, lesson_id)
    return Response(
        sheet, mimetype=XLSX, headers={"Content-Disposition": f'attachment; filename="anke-{lesson_id}.xlsx"'}
    )


@blueprint.get("/api/lessons/<lesson_id>/verify")
@validate_response(VerifyAnswer)
async def get_verify(lesson_id: str) -> VerifyAnswer:
    """Recomputes every credited second from the raw ledger rows and compares (R-056)."""
    await require_staff(lesson_id)
    report = await verify_lesson(current_parts().record, lesson_id)
    broken = report.broken_row
    return VerifyAnswer(
        result=report.result,
        broken_row=None if broken is None else BrokenRow(chain=broken[0], idx=broken[1]),
        differences=report.differences,
        lines=report.lines,
    )


@blueprint.get("/api/lessons/<lesson_id>/credit/<person_id>")
@validate_response(CreditAnswer)
async def get_credit(lesson_id: str, person_id: str) -> CreditAnswer:
    """One learner's seconds and the evidence behind each of them (R-056): for the learner and for staff."""
    record, actor = current_parts().record, current_actor()
    view = await access_lesson(record, actor, lesson_id)
    if person_id not in view.learner_ids and not (person_id == actor.person_id and "learner" in view.roles_here):
        raise Refusal("not_found")
    if person_id != actor.person_id and not is_staff(view):
        raise Refusal("not_found")
    report = await credit_of(record, lesson_id, person_id)
    evidence = await evidence_of(record, lesson_id, person_id)
    return CreditAnswer(
        credit=CreditStrip.model_validate(credit_strip(person_id, report, view.planned_s)),
        evidence=evidence if is_staff(view) else [without_measures(entry) for entry in evidence],
    )


def without_measures(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry as its own learner sees it: how close a picture came would teach a cheat to come closer (R-064)."""
    verdict = entry["body"].get("verdict")
    if not isinstance(verdict, dict):
        return entry
    kept = {name: value for name, value in verdict.items() if name not in MEASURES}
    return {**entry, "body": {**entry["body"], "verdict": kept}}
