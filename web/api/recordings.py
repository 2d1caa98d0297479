"""Recordings: how one stands, its marks, playlists for staff, replay for learners segment by segment (R-059)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel
from quart import Blueprint, Response
from quart_schema import validate_request, validate_response

from classroom import (
    NOTICE,
    LessonView,
    ReplayRefused,
    ReplayView,
    access_lesson,
    answer_replay,
    issue_segment,
    open_replay,
    replay_progress,
    replay_state,
    timeline_of,
)
from media.recording.index import TIMELINE_NAME, Index, Rendition, Segment
from media.recording.playlist import Addresses, playable, replay_playlist
from media.recording.storage import Storage
from signaling.context import epoch_ms
from signaling.recording_watch import recording_facts
from web.api.credit import is_staff
from web.auth import current_actor
from web.parts import current_parts
from web.refusals import Refusal

blueprint = Blueprint("recordings", __name__)

PLAYLIST = "application/vnd.apple.mpegurl"
SEGMENT = "video/mp4"


class RenditionFacts(BaseModel):
    name: str
    container: str
    codecs: str
    width: int
    height: int
    segments: int
    duration_s: float
    bytes: int


class MarkFacts(BaseModel):
    """`offset_s`: where in the recording, None when it was not being recorded then."""

    at_ms: int
    kind: str
    who: str
    text: str
    detail: str
    offset_s: float | None


class ReplayFacts(BaseModel):
    """`credit` is coded: `none` says that this rule profile gives no hours for replay."""

    replay_id: str
    issued_s: float
    watched_s: float
    challenge_id: str | None
    challenge_closes_at_ms: int | None
    server_ms: int
    credit: str = "none"


class RecordingAnswer(BaseModel):
    lesson_id: str
    title: str
    state: str
    reason: str
    staff: bool
    duration_s: float
    begins_at_ms: int
    renditions: list[RenditionFacts]
    interruptions: list[dict[str, Any]]
    marks: list[MarkFacts]
    watched_s: float
    seal: str | None


class ChallengeAnswer(BaseModel):
    challenge_id: str


async def recording_of(lesson_id: str) -> Index | None:
    """None while nothing of the lesson is recorded."""
    try:
        return await current_parts().shelf.index(lesson_id)
    except FileNotFoundError:
        return None


def leading(index: Index) -> Rendition | None:
    """The rendition whose clock is the recording's: the lecture, or the screen where there is nothing else."""
    found = [index.renditions[name] for name in ("camera", "screen") if name in index.renditions]
    return next((rendition for rendition in found if playable(rendition)), None)


def offset_s(segments: list[Segment], at_ms: int) -> float | None:
    """Wall clock → seconds from the beginning as a player counts them."""
    before_ms = 0.0
    for segment in segments:
        if segment.at_ms <= at_ms < segment.at_ms + segment.duration_ms:
            return round((before_ms + at_ms - segment.at_ms) / 1000, 3)
        before_ms += segment.duration_ms
    return None


@blueprint.get("/api/lessons/<lesson_id>/recording")
@validate_response(RecordingAnswer)
async def get_recording(lesson_id: str) -> RecordingAnswer:
    """For everyone with a role in the lesson. Nothing recorded is an answer too: `state` is `none`."""
    parts, actor = current_parts(), current_actor()
    view = await access_lesson(parts.record, actor, lesson_id)
    staff = is_staff(view)
    live_since_ms = view.started_at_ms if view.state == "live" else None
    facts = await recording_facts(parts.redis, "", lesson_id, live_since_ms, epoch_ms())
    index = await recording_of(lesson_id)
    found = index or Index()
    state = "ready" if found.closed_at_ms is not None and view.state == "ended" else str(facts.state)
    leader = leading(found)
    segments = [segment for segment in playable(leader) if segment.whole] if leader else []
    progress = await replay_progress(parts.record, lesson_id, actor.person_id)
    return RecordingAnswer(
        lesson_id=lesson_id,
        title=view.title,
        state=state,
        reason=facts.reason if staff else "",
        staff=staff,
        duration_s=round(sum(segment.duration_ms for segment in segments) / 1000, 3),
        begins_at_ms=segments[0].at_ms if segments else 0,
        renditions=[_rendition_facts(item) for item in found.renditions.values()],
        interruptions=[asdict(hole) for hole in found.interruptions] if staff else [],
        marks=await _marks(view, segments, staff=staff),
        watched_s=round(progress.confirmed_ms / 1000, 1),
        seal=found.head if found.closed_at_ms is not None and staff else None,
    )


def _rendition_facts(rendition: Rendition) -> RenditionFacts:
    run = rendition.runs[-1]
    whole = [segment for segment in rendition.segments if segment.whole]
    return RenditionFacts(
        name=rendition.name,
        container=run.container,
        codecs=run.codecs,
        width=run.width,
        height=run.height,
        segments=len(whole),
        duration_s=round(sum(segment.duration_ms for segment in whole) / 1000, 3),
        bytes=sum(segment.size for segment in whole),
    )


async def _marks(view: LessonView, segments: list[Segment], *, staff: bool) -> list[MarkFacts]:
    parts, lesson_id = current_parts(), view.lesson_id
    marks = [
        asdict(mark) for mark in await timeline_of(parts.record, lesson_id, current_actor().person_id, staff=staff)
    ]
    marks += await asyncio.to_thread(_kept_notices, parts.shelf.storage, lesson_id)
    index = await recording_of(lesson_id)
    screen = index.renditions.get("screen") if index is not None else None
    runs = [] if screen is None else [[s for s in screen.segments if s.run.number == run.number] for run in screen.runs]
    for stretch in runs:
        if stretch:
            common = {"who": "", "text": "", "detail": ""}
            marks.append({"at_ms": stretch[0].at_ms, "kind": "screen_on", **common})
            marks.append({"at_ms": int(stretch[-1].at_ms + stretch[-1].duration_ms), "kind": "screen_off", **common})
    marks.sort(key=lambda mark: int(mark["at_ms"]))
    return [MarkFacts(**mark, offset_s=offset_s(segments, mark["at_ms"])) for mark in marks]


def _kept_notices(storage: Storage, lesson_id: str) -> list[dict[str, Any]]:
    try:
        text = storage.read(lesson_id, TIMELINE_NAME)
    except FileNotFoundError:
        return []
    return [mark for mark in json.loads(text)["marks"] if mark["kind"] == NOTICE]


def public_addresses(lesson_id: str) -> Addresses:
    base = f"/recordings/{lesson_id}"
    return Addresses(
        init=lambda run: f"{base}/{run.init}",
        segment=lambda segment: f"{base}/{segment.name}",
        part=lambda segment, number: f"{base}/{segment.name}/{number}",
    )


def playlist_response(text: str) -> Response:
    return Response(text, mimetype=PLAYLIST, headers={"Cache-Control": "no-store"})


@blueprint.get("/api/lessons/<lesson_id>/recording/<rendition>.m3u8")
async def get_playlist(lesson_id: str, rendition: str) -> Response:
    """The whole recording, to be played and sought at will: for staff. Learners replay by `/api/replays`."""
    if not is_staff(await access_lesson(current_parts().record, current_actor(), lesson_id)):
        raise Refusal("not_found")
    index = await recording_of(lesson_id)
    found = index.renditions.get(rendition) if index is not None else None
    if index is None or found is None:
        raise Refusal("not_found")
    segments = [segment for segment in playable(found) if segment.whole]
    return playlist_response(
        replay_playlist(segments, public_addresses(lesson_id), ended=index.closed_at_ms is not None)
    )


# Replay for learners --------------------------------------------------------------------------------------------------


def _replay_facts(view: ReplayView) -> ReplayFacts:
    challenge = view.progress.challenge
    return ReplayFacts(
        replay_id=view.replay_id,
        issued_s=round(view.progress.issued_ms / 1000, 3),
        watched_s=round(view.progress.confirmed_ms / 1000, 3),
        challenge_id=None if challenge is None else challenge.challenge_id,
        challenge_closes_at_ms=None if challenge is None else challenge.closes_at_ms,
        server_ms=epoch_ms(),
    )


async def _replayed(lesson_id: str) -> tuple[Index, list[Segment]]:
    """The segments that a replay counts by. Refusal not_found while the recording is not whole."""
    index = await recording_of(lesson_id)
    leader = leading(index) if index is not None else None
    if index is None or index.closed_at_ms is None or leader is None:
        raise Refusal("not_found")
    return index, [segment for segment in playable(leader) if segment.whole]


@blueprint.post("/api/lessons/<lesson_id>/replay")
@validate_response(ReplayFacts)
async def post_replay(lesson_id: str) -> ReplayFacts:
    """Begins a learner's replay, or goes on with it; the person's other players get no further segment."""
    parts, actor = current_parts(), current_actor()
    await access_lesson(parts.record, actor, lesson_id)
    await _replayed(lesson_id)
    return _replay_facts(await open_replay(parts.record, lesson_id, actor.person_id))


@blueprint.get("/api/replays/<replay_id>")
@validate_response(ReplayFacts)
async def get_replay(replay_id: str) -> ReplayFacts:
    return _replay_facts(await replay_state(current_parts().record, replay_id, current_actor().person_id))


@blueprint.post("/api/replays/<replay_id>/answer")
@validate_request(ChallengeAnswer)
@validate_response(ReplayFacts)
async def post_replay_answer(replay_id: str, data: ChallengeAnswer) -> ReplayFacts:
    parts, actor = current_parts(), current_actor()
    return _replay_facts(await answer_replay(parts.record, replay_id, actor.person_id, data.challenge_id))


@blueprint.get("/api/replays/<replay_id>/<rendition>.m3u8")
async def get_replay_playlist(replay_id: str, rendition: str) -> Response:
    """What may be fetched by now. It grows as the wall clock goes on and stops at an open challenge."""
    view = await replay_state(current_parts().record, replay_id, current_actor().person_id)
    index, segments = await _replayed(view.lesson_id)
    count, left_ms = view.progress.issued, view.allowance_ms
    while view.progress.challenge is None and count < len(segments) and segments[count].duration_ms <= left_ms:
        left_ms -= segments[count].duration_ms
        count += 1
    listed = segments[:count]
    ended = view.progress.issued == len(segments) and view.progress.challenge is None
    if rendition != leading_name(index):
        listed = _alongside(index, rendition, listed)
    base = f"/api/replays/{replay_id}/{rendition}"
    addresses = Addresses(
        init=lambda run: f"/recordings/{view.lesson_id}/{run.init}",
        segment=lambda segment: f"{base}/{segment.number}.m4s",
        part=lambda segment, number: "",
    )
    return playlist_response(replay_playlist(listed, addresses, ended=ended))


def leading_name(index: Index) -> str:
    leader = leading(index)
    return "" if leader is None else leader.name


def _alongside(index: Index, rendition: str, issued: list[Segment]) -> list[Segment]:
    """The segments of another rendition that began while those that were handed out were being held."""
    found = index.renditions.get(rendition)
    if found is None or not issued:
        return []
    ends_ms = issued[-1].at_ms + issued[-1].duration_ms
    return [segment for segment in playable(found) if segment.whole and segment.at_ms < ends_ms]


@blueprint.get("/api/replays/<replay_id>/<rendition>/<int:number>.m4s")
async def get_replay_segment(replay_id: str, rendition: str, number: int) -> Response:
    """One segment, handed out under this player's right and written down as handed out."""
    parts, actor = current_parts(), current_actor()
    view = await replay_state(parts.record, replay_id, actor.person_id)
    index, segments = await _replayed(view.lesson_id)
    if rendition == leading_name(index):
        place = next((place for place, segment in enumerate(segments) if segment.number == number), None)
        if place is None:
            raise Refusal("not_found")
        durations_ms = [segment.duration_ms for segment in segments]
        issued = await issue_segment(parts.record, replay_id, actor.person_id, place, durations_ms)
        if isinstance(issued, ReplayRefused):
            raise Refusal(issued.why, headers={"Retry-After": str(-(-issued.wait_ms // 1000))})
        segment = segments[place]
    else:
        listed = _alongside(index, rendition, segments[: view.progress.issued])
        beside = next((segment for segment in listed if segment.number == number), None)
        if beside is None:
            raise Refusal("not_found")
        segment = beside
    data = await parts.shelf.whole(view.lesson_id, segment.name)
    return Response(data, mimetype=SEGMENT, headers={"Cache-Control": "private, no-store"})
