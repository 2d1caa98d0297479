"""Signing in and out. The newest sign-in of a person ends the earlier ones on every channel (R-061)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response, jsonify, request
from quart_schema import document_response, validate_request

from classroom import sign_in, sign_out
from web.auth import clear_session_cookie, current_actor, refuse_foreign_origin, set_session_cookie
from web.live import current_live
from web.parts import current_parts
from web.refusals import Refusal
from web.throttle import SignInThrottle

open_blueprint = Blueprint("sign_in", __name__)
blueprint = Blueprint("sessions", __name__)


class SignInForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    login: str = Field(min_length=1, max_length=100)
    password: str = Field(min_length=1, max_length=200)


class PersonFacts(BaseModel):
    id: str
    name: str
    roles: list[str]
    organisation: str | None


class SignedInAnswer(BaseModel):
    token: str
    person: PersonFacts


@open_blueprint.post("/api/sign-in")
@validate_request(SignInForm)
@document_response(SignedInAnswer)
async def post_sign_in(data: SignInForm) -> Response:
    """Opens a session. Five failures lock the login for 15 minutes (P-041)."""
    refuse_foreign_origin(request)
    parts = current_parts()
    throttle = SignInThrottle(parts.redis)
    wait_s = await throttle.admit(data.login)
    if wait_s:
        raise Refusal("locked_out", headers={"Retry-After": str(wait_s)}, facts={"retry_after_s": wait_s})
    user_agent = request.headers.get("User-Agent", "")[:200]
    signed_in = await sign_in(parts.record, data.login, data.password, user_agent, request.remote_addr or "")
    await throttle.forget(data.login)
    actor = signed_in.actor
    for session_id in signed_in.ended_sessions:
        await current_live().end_session(actor.person_id, session_id, "second_sign_in")
    answer = SignedInAnswer(
        token=signed_in.token,
        person=PersonFacts(
            id=actor.person_id, name=actor.name, roles=sorted(actor.roles), organisation=actor.organisation_id
        ),
    )
    response = jsonify(answer.model_dump())
    set_session_cookie(response, signed_in.token, secure=parts.settings.own_url.startswith("https://"))
    return response


@blueprint.post("/api/sign-out")
async def post_sign_out() -> Response:
    actor = current_actor()
    await sign_out(current_parts().record, actor.session_id)
    await current_live().end_session(actor.person_id, actor.session_id, "signed_out")
    response = jsonify({"ok": True})
    clear_session_cookie(response)
    return response
