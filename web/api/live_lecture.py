"""The live lecture over HTTP for those whom no WebRTC path reaches: low-latency HLS (8216bis) from the recording.

Playlists are each viewer's own (their session opens them); segments have unguessable names, never change, and may be
kept by any cache.
"""

from __future__ import annotations

from typing import cast

from quart import Blueprint, Response, current_app, request

from classroom import access_lesson
from media.recording.index import BrokenIndex
from media.recording.playlist import PART_TARGET_S, TARGET_S, live_playlist, playable
from web.api.recordings import SEGMENT, playlist_response, public_addresses, recording_of
from web.auth import current_actor
from web.deliveries import EXTENSION, Deliveries
from web.page import FOREVER
from web.parts import current_parts
from web.refusals import Refusal

blueprint = Blueprint("live_lecture", __name__)
#: Segments: whoever knows a name was given it in a playlist of theirs.
open_blueprint = Blueprint("recorded_objects", __name__)

# 8216bis 6.2.5.2: a server answers after three target durations at the latest.
PATIENCE_S = 3.0 * TARGET_S
MEDIA_TYPES = {"mp4": "video/mp4", "m4s": SEGMENT, "webm": "video/webm"}


@blueprint.get("/api/lessons/<lesson_id>/live/<rendition>.m3u8")
async def get_live_playlist(lesson_id: str, rendition: str) -> Response:
    """Blocks until the part asked for by `_HLS_msn` and `_HLS_part` is there."""
    parts, actor = current_parts(), current_actor()
    view = await access_lesson(parts.record, actor, lesson_id)
    if view.state != "live":
        raise Refusal("not_found")
    number, part = request.args.get("_HLS_msn", type=int), request.args.get("_HLS_part", type=int)
    index = await recording_of(lesson_id)
    found = index.renditions.get(rendition) if index is not None else None
    if index is None or found is None or not playable(found):
        raise Refusal("not_found")
    if number is not None:
        if number > playable(found)[-1].number + 2:
            # 8216bis 6.2.5.2: far ahead of what there is, so a mistake.
            raise Refusal("bad_request")
        await parts.shelf.wait_for(lesson_id, rendition, number, part, PATIENCE_S)
    segments = playable(found)
    if number is not None and "learner" in view.roles_here:
        deliveries = cast(Deliveries, current_app.extensions[EXTENSION])
        deliveries.came_back(lesson_id, actor.person_id, segments, number, part)
    text = live_playlist(found, public_addresses(lesson_id), ended=index.closed_at_ms is not None)
    return playlist_response(text)


@open_blueprint.get("/recordings/<lesson_id>/<name>")
async def get_object(lesson_id: str, name: str) -> Response:
    try:
        data = await current_parts().shelf.whole(lesson_id, name)
    except (FileNotFoundError, BrokenIndex):
        raise Refusal("not_found") from None
    return _object(data, name)


@open_blueprint.get("/recordings/<lesson_id>/<name>/<int:number>")
async def get_part(lesson_id: str, name: str, number: int) -> Response:
    """One part; the next one that a playlist hints at is waited for."""
    try:
        data = await current_parts().shelf.part(lesson_id, name, number, 2 * PART_TARGET_S)
    except (FileNotFoundError, BrokenIndex):
        raise Refusal("not_found") from None
    return _object(data, name)


def _object(data: bytes, name: str) -> Response:
    media_type = MEDIA_TYPES.get(name.rsplit(".", 1)[-1], "application/octet-stream")
    return Response(data, mimetype=media_type, headers={"Cache-Control": FOREVER, "Access-Control-Allow-Origin": "*"})
