"""Enrolling one's own face: three pictures in, a verdict on each out. The pixels are judged by a worker, never here."""

from __future__ import annotations

import base64
import binascii

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response, jsonify
from quart_schema import document_response, validate_request, validate_response

from classroom import has_consent
from web.api.consents import FACE_PURPOSE
from web.auth import current_actor
from web.enrolment import EnrolmentTimeout, enrol_face
from web.face_templates import delete_template
from web.parts import current_parts
from web.refusals import SENTENCES, Refusal
from web.throttle import EnrolmentAllowance

blueprint = Blueprint("faces", __name__)

SHOTS = 3
SHOT_MAX_BYTES = 1_000_000  # a 1280x720 JPEG of good quality is a third of this
SHOT_MAX_CHARACTERS = SHOT_MAX_BYTES * 4 // 3 + 64


class FaceForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    shots: list[str] = Field(min_length=SHOTS, max_length=SHOTS, description="base64 JPEG, or data: URLs of them")


class ShotFacts(BaseModel):
    ok: bool
    problem: str | None = None


class FaceAnswer(BaseModel):
    enrolled: bool
    shots: list[ShotFacts] = []


def shot_bytes_untrusted(text: str) -> bytes:
    """One picture out of a request body; raises Refusal("bad_request" or "too_large") and nothing else."""
    if len(text) > SHOT_MAX_CHARACTERS:
        raise Refusal("too_large")
    payload = text.split(",", 1)[1] if text.startswith("data:") and "," in text else text
    try:
        shot = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal("bad_request") from error
    # JPEG (ITU-T T.81 B.1.1.3): starts with the SOI marker.
    if not shot.startswith(b"\xff\xd8"):
        raise Refusal("bad_request")
    return shot


@blueprint.post("/api/me/face")
@validate_request(FaceForm)
@document_response(FaceAnswer)
@document_response(FaceAnswer, 422)
async def post_face(data: FaceForm) -> Response:
    """Answers 200 when a template was made, 422 with the problem of each picture when not."""
    parts, actor = current_parts(), current_actor()
    if not await has_consent(parts.record, actor.person_id, FACE_PURPOSE):
        raise Refusal("consent_required")
    shots = [shot_bytes_untrusted(text) for text in data.shots]
    wait_s = await EnrolmentAllowance(parts.redis).admit(actor.person_id)
    if wait_s:
        raise Refusal("enrolled_too_often", headers={"Retry-After": str(wait_s)}, facts={"retry_after_s": wait_s})
    try:
        outcome = await enrol_face(parts, actor.person_id, shots)
    except EnrolmentTimeout as error:
        raise Refusal("judge_busy", headers={"Retry-After": "10"}) from error
    answer = FaceAnswer(
        enrolled=outcome.enrolled,
        shots=[ShotFacts(ok=problem is None, problem=problem) for problem in outcome.problems],
    )
    body = answer.model_dump()
    if not outcome.enrolled:
        status, message, message_en = SENTENCES["face_unclear"]
        body["error"] = {"code": "face_unclear", "message": message, "message_en": message_en}
        response = jsonify(body)
        response.status_code = status
        return response
    return jsonify(body)


@blueprint.delete("/api/me/face")
@validate_response(FaceAnswer)
async def delete_face() -> FaceAnswer:
    await delete_template(current_parts(), current_actor().person_id)
    return FaceAnswer(enrolled=False)
