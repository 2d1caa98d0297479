"""The signed-in person: name, roles, and what they have agreed to."""

from __future__ import annotations

from pydantic import BaseModel
from quart import Blueprint
from quart_schema import validate_response

from classroom import has_consent, operates, template_of
from web.api.consents import FACE_PURPOSE
from web.api.sessions import PersonFacts
from web.auth import current_actor
from web.parts import current_parts

blueprint = Blueprint("people", __name__)


class FaceFacts(BaseModel):
    enrolled: bool
    status: str  # none, enrolled


class MeAnswer(BaseModel):
    person: PersonFacts
    face: FaceFacts
    consents: list[str]
    operates: bool  # may see the operators' page


@blueprint.get("/api/me")
@validate_response(MeAnswer)
async def get_me() -> MeAnswer:
    actor, record = current_actor(), current_parts().record
    enrolled = await template_of(record, actor.person_id) is not None
    consents = [FACE_PURPOSE] if await has_consent(record, actor.person_id, FACE_PURPOSE) else []
    return MeAnswer(
        person=PersonFacts(
            id=actor.person_id, name=actor.name, roles=sorted(actor.roles), organisation=actor.organisation_id
        ),
        face=FaceFacts(enrolled=enrolled, status="enrolled" if enrolled else "none"),
        consents=consents,
        operates=await operates(record, actor),
    )
