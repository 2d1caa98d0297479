"""What WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) have in common over HTTP: one POST begins a session, its
`Location` ends it (DELETE), restarts its ICE and takes trickled candidates (PATCH); an ICE-lite end needs none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart import Blueprint, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from media.errors import MediaError
from media.sdp import MAX_SDP_BYTES
from media.sdp_fragment import parse_fragment_untrusted
from media.tokens import Act, Claims, valid_name, verify_untrusted

if TYPE_CHECKING:
    from media.ice_servers import IceServer
    from media.link import Links
    from media.node import MediaNode, MediaNodeConfig
    from media.router import Begun, MediaRouter, Session
    from media.trunks import Trunks

SDP_TYPE = "application/sdp"
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"  # RFC 8840 9
PREFLIGHT_MAX_AGE_S = 86_400


@dataclass(frozen=True, slots=True)
class Desk:
    """What an endpoint works with: the node's router, its registration, its settings and its clock."""

    router: MediaRouter
    node: MediaNode
    config: MediaNodeConfig
    clock_ms: Callable[[], int]
    links: Links
    trunks: Trunks


def bearer_token() -> str:
    """The request's bearer token (RFC 6750 2.1). MediaError `no_token`."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise MediaError("no_token")
    return token.strip()


def error_response(error: MediaError) -> Response:
    response = jsonify(error.to_dict())
    response.status_code = error.status
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.status == 503:
        response.headers["Retry-After"] = "1"  # RFC 9725 4.5
    return response


def http_error_response(error: HTTPException) -> Response:
    """Errors of HTTP itself (no such page, wrong method, body too large), in the same shape as our own."""
    if error.code == 413:
        return error_response(MediaError("too_large"))
    name = (error.name or "error").lower().replace(" ", "_")
    body = {"code": name, "message": "请求无法处理。", "message_en": error.description or "", "detail": ""}
    response = jsonify({"error": body})
    response.status_code = error.code or 500
    return response


def session_blueprint(
    desk: Desk, path: str, act: Act, begin: Callable[[Claims, bytes], Begun], kind: type[Session]
) -> Blueprint:
    """The routes `/{path}/{id}` and `/{path}/{id}/{session}`."""
    blueprint = Blueprint(path, __name__, url_prefix=f"/{path}")

    @blueprint.post("/<name>", provide_automatic_options=False)
    async def post(name: str) -> Response:
        claims = _claims(desk, name, act)
        if request.mimetype != SDP_TYPE:
            raise MediaError("not_sdp", request.mimetype)
        if (request.content_length or 0) > MAX_SDP_BYTES:
            raise MediaError("too_large")
        offer = await request.data
        if await desk.node.endings.refuses(claims):
            raise MediaError("seat_ended")
        if desk.node.draining and desk.node.others():
            raise MediaError("node_draining")
        begun = begin(claims, offer)
        response = Response(begun.answer, 201, content_type=SDP_TYPE)
        # Absolute, since encoders differ in how they resolve a relative one.
        response.headers["Location"] = f"{desk.config.public_url}/{path}/{name}/{begun.session_id}"
        response.headers["ETag"] = begun.etag
        response.headers["Accept-Patch"] = FRAGMENT_TYPE
        _add_ice_servers(response, desk, claims)
        return response

    @blueprint.delete("/<name>/<session_id>", provide_automatic_options=False)
    async def delete(name: str, session_id: str) -> Response:
        desk.router.end(_session(desk, name, session_id, act, kind), "deleted")
        return Response("", 200)

    @blueprint.patch("/<name>/<session_id>", provide_automatic_options=False)
    async def patch(name: str, session_id: str) -> Response:
        session = _session(desk, name, session_id, act, kind)
        if request.mimetype != FRAGMENT_TYPE:
            raise MediaError("bad_request", f"PATCH takes {FRAGMENT_TYPE}")
        fragment = parse_fragment_untrusted(await request.data)
        if_match = request.headers.get("If-Match")
        if if_match is None:
            raise MediaError("no_precondition")
        # RFC 9725 4.3.3 asks for `*` in a restart, its example has it in quotes; a tag that fits is as good.
        if if_match not in ("*", '"*"', desk.router.etag_of(session)):
            raise MediaError("stale_session")
        if fragment.ice_ufrag in (None, session.transport.remote_ufrag):
            return Response("", 204)
        response = Response(desk.router.restart_ice(session, fragment.ice_ufrag), 200, content_type=FRAGMENT_TYPE)
        response.headers["ETag"] = desk.router.etag_of(session)
        return response

    @blueprint.route("/<name>", methods=["OPTIONS"], provide_automatic_options=False)
    async def options(name: str) -> Response:
        response = Response("", 204)
        response.headers["Accept-Post"] = SDP_TYPE
        response.headers["Allow"] = "POST, OPTIONS"
        # RFC 9725 4.6: an encoder may ask for these before it gathers candidates for its offer. TURN costs us, so it
        # is told to who has a token; a browser's preflight has none.
        claims = _claims(desk, name, act) if "Authorization" in request.headers else None
        _add_ice_servers(response, desk, claims)
        return response

    @blueprint.route("/<name>/<session_id>", methods=["OPTIONS"], provide_automatic_options=False)
    async def session_options(name: str, session_id: str) -> Response:
        response = Response("", 204)
        response.headers["Accept-Patch"] = FRAGMENT_TYPE
        response.headers["Allow"] = "PATCH, DELETE, OPTIONS"
        return response

    @blueprint.after_request
    async def allow_origin(response: Response) -> Response:
        return _with_cors(response, desk.config.origins)

    @blueprint.errorhandler(MediaError)
    async def refused(error: MediaError) -> Response:
        return error_response(error)

    return blueprint


def _claims(desk: Desk, name: str, act: Act, *, allow_expired: bool = False) -> Claims:
    if not valid_name(name):
        raise MediaError("bad_name", name[:64])
    claims = verify_untrusted(bearer_token(), desk.config.token_secret, desk.clock_ms(), allow_expired=allow_expired)
    if claims.act is not act or claims.id != name:
        raise MediaError("wrong_token", f"the token is for {claims.act.value} {claims.id}")
    return claims


def _session(desk: Desk, name: str, session_id: str, act: Act, kind: type[Session]) -> Session:
    # The token that began a session ends it, even when the lesson outlasted it.
    claims = _claims(desk, name, act, allow_expired=True)
    session = desk.router.sessions.get(session_id)
    if not isinstance(session, kind) or session.claims.id != name or session.claims.holder != claims.holder:
        raise MediaError("no_session")
    return session


def _add_ice_servers(response: Response, desk: Desk, claims: Claims | None) -> None:
    servers = desk.config.ice_servers
    if claims is not None and desk.config.turn is not None:
        servers += desk.config.turn.servers(claims.holder, desk.clock_ms())
    for server in servers:
        response.headers.add("Link", _link(server))


def _link(server: IceServer) -> str:
    link = f'<{server.url}>; rel="ice-server"'
    if server.username:
        link += f'; username="{server.username}"; credential="{server.credential}"; credential-type="password"'
    return link


def _with_cors(response: Response, origins: tuple[str, ...]) -> Response:
    origin = request.headers.get("Origin")
    if origin is None or not ("*" in origins or origin in origins):
        return response
    headers = response.headers
    headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else origin
    headers["Vary"] = "Origin"
    # A page sees only the headers named here, and needs all of these to end or restart its session.
    headers["Access-Control-Expose-Headers"] = "Location, ETag, Link, Accept-Patch, Accept-Post"
    if request.method == "OPTIONS":
        headers["Access-Control-Allow-Methods"] = "POST, PATCH, DELETE, OPTIONS"
        headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, If-Match"
        headers["Access-Control-Max-Age"] = str(PREFLIGHT_MAX_AGE_S)
    return response
