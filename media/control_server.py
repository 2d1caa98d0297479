"""The node's half of `MediaControl`: `/control/...`, for whoever holds the control secret."""

from __future__ import annotations

import base64
import hmac
from dataclasses import asdict
from typing import Any

from quart import Blueprint, Response, jsonify, request

from media.errors import MediaError
from media.link import Terms
from media.room import RoomSource
from media.session_http import Desk, bearer_token, error_response
from media.stats import RouterStats
from media.tokens import valid_height, valid_name
from media.trunks import read_wish_untrusted

MIN_DEADLINE_MS, MAX_DEADLINE_MS = 10, 30_000


def control_blueprint(desk: Desk, stats: RouterStats) -> Blueprint:
    """Routes under `/control`; every one needs `Authorization: Bearer {control secret}`."""
    blueprint = Blueprint("control", __name__, url_prefix="/control")
    secret = desk.config.control_secret.encode()

    @blueprint.before_request
    async def authorise() -> None:
        if not hmac.compare_digest(bearer_token().encode(), secret):
            raise MediaError("bad_token", "not the control secret")

    @blueprint.errorhandler(MediaError)
    async def refused(error: MediaError) -> Response:
        return error_response(error)

    @blueprint.post("/tap")
    async def tap() -> Response:
        body = await _body()
        publication = desk.router.publications.get(_name(body, "publication_id"))
        if publication is None:
            raise MediaError("no_publication", str(body["publication_id"]))
        deadline_ms = body.get("deadline_ms", 1500)
        if type(deadline_ms) is not int or not MIN_DEADLINE_MS <= deadline_ms <= MAX_DEADLINE_MS:
            raise MediaError("bad_request", f"deadline_ms is {MIN_DEADLINE_MS}..{MAX_DEADLINE_MS}")
        frame = asdict(await publication.next_keyframe(deadline_ms))
        frame["data"] = base64.b64encode(frame["data"]).decode()
        frame["node_id"] = desk.node.node_id
        return jsonify(frame)

    @blueprint.post("/show")
    async def show() -> Response:
        body = await _body()
        slots = body.get("slots")
        if not isinstance(slots, dict) or not all(
            valid_name(name) and (source is None or valid_name(source)) for name, source in slots.items()
        ):
            raise MediaError("bad_request", "slots maps slot names to publication ids or null")
        heights = body.get("heights")
        if heights is not None and not (
            isinstance(heights, dict)
            and all(valid_name(name) and (px is None or valid_height(px)) for name, px in heights.items())
        ):
            raise MediaError("bad_request", "heights maps slot names to heights in px or null")
        return jsonify({"slots": desk.router.show(_name(body, "subscription_id"), slots, heights)})

    @blueprint.post("/room")
    async def room() -> Response:
        body = await _body()
        slots, at_ms = body.get("slots"), body.get("at_ms")
        if not isinstance(slots, dict) or not all(map(valid_name, slots)) or type(at_ms) is not int:
            raise MediaError("bad_request", "slots maps slot names to sources; at_ms")
        wanted = {name: _room_source(value) for name, value in slots.items()}
        return jsonify({"turned": desk.router.show_room(_name(body, "room"), wanted, at_ms)})

    @blueprint.post("/end")
    async def end() -> Response:
        body = await _body()
        if "seat" in body:
            seat = _name(body, "seat")
            await desk.node.endings.end_seat(seat)
            ended = desk.router.end_all(lambda claims: claims.seat == seat, "seat_ended")
        elif "publication_id" in body:
            publication_id, at_ms = _name(body, "publication_id"), body.get("at_ms")
            if type(at_ms) is not int:
                raise MediaError("bad_request", "at_ms")
            await desk.node.endings.end_publication(publication_id, at_ms)
            publication = desk.router.publications.get(publication_id)
            ended = int(publication is not None and publication.claims.made_at_ms <= at_ms)
            if publication is not None and ended:
                desk.router.end(publication, "publication_ended")
        else:
            holder, keep_seat, at_ms = _name(body, "holder"), body.get("keep_seat"), body.get("at_ms")
            if not (keep_seat is None or valid_name(keep_seat)) or type(at_ms) is not int:
                raise MediaError("bad_request", "keep_seat or at_ms")
            await desk.node.endings.end_holder(holder, keep_seat, at_ms)
            ended = desk.router.end_all(
                lambda claims: claims.holder == holder and claims.seat != keep_seat, "holder_ended"
            )
        return jsonify({"ended": ended})

    @blueprint.post("/drain")
    async def drain() -> Response:
        body = await _body()
        if type(body.get("draining")) is not bool:
            raise MediaError("bad_request", "draining is true or false")
        await desk.node.drain(body["draining"])
        return jsonify({"sessions": len(desk.router.sessions), "others": len(desk.node.others())})

    # Between nodes.

    @blueprint.post("/link")
    async def link() -> Response:
        return jsonify(desk.links.accept(Terms.read_untrusted(await _body())).to_dict())

    @blueprint.post("/link/wish")
    async def link_wish() -> Response:
        body = await _body()
        control_url = body.get("control_url")
        if not isinstance(control_url, str) or not control_url.startswith(("http://", "https://")):
            raise MediaError("bad_request", "control_url")
        made = await desk.links.make(_name(body, "node_id"), control_url, anew=body.get("anew") is True)
        return jsonify({"link_id": made.link_id})

    @blueprint.post("/trunk")
    async def trunk() -> Response:
        body = await _body()
        wish = read_wish_untrusted(body.get("wish"))
        streams = desk.trunks.give(_name(body, "node_id"), _name(body, "link_id"), wish)
        return jsonify({"streams": {name: [item.to_dict() for item in items] for name, items in streams.items()}})

    @blueprint.get("/flows")
    async def flows() -> Response:
        return jsonify({"flows": stats.flows()})

    @blueprint.get("/snapshot")
    async def snapshot() -> Response:
        return jsonify({**stats.snapshot(), "trunks": desk.trunks.snapshot()})

    @blueprint.get("/overview")
    async def overview() -> Response:
        return jsonify(stats.overview())

    return blueprint


async def _body() -> dict[str, Any]:
    body = await request.get_json(force=True, silent=True)
    if not isinstance(body, dict):
        raise MediaError("bad_request", "the body is a JSON object")
    return body


def _name(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not valid_name(value):
        raise MediaError("bad_request", key)
    return str(value)


def _room_source(value: object) -> RoomSource:
    if isinstance(value, dict):
        publication_id, except_holder = value.get("publication_id"), value.get("except_holder")
        if all(name is None or valid_name(name) for name in (publication_id, except_holder)):
            return RoomSource(publication_id, except_holder)
    raise MediaError("bad_request", "a source has a publication_id or null, and an except_holder or null")
