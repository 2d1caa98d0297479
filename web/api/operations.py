"""The operators' view: every media node, and per lesson who sends and who sees what, with reasons for what is wrong.

Counters count since their stream began; the page divides differences by the time between two answers.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel
from quart import Blueprint
from quart_schema import validate_response

from classroom import NotFound, operates, operations_names
from media import NodeInfo
from signaling.hints import hints_of
from web.auth import current_actor
from web.parts import current_parts

blueprint = Blueprint("operations", __name__)

# A browser that shows fewer than this share of the frames it decoded is too slow for them.
SLOW_SHARE = 0.2
DEVICE_SLOW, FROZE = "device_slow", "froze"


class EncodingFlow(BaseModel):
    kind: str
    rid: str | None
    codec: str | None
    height_px: int | None
    packets: int
    payload_bytes: int
    frames: int | None
    lost: int
    jitter_ms: float
    keyframes: int
    nacks_sent: int
    plis_sent: int
    last_packet_age_ms: int | None


class SessionFlow(BaseModel):
    id: str
    node_id: str
    person_id: str
    name: str | None  # of the person; None for what is no person's (a trunk between nodes)
    state: str
    path: str
    rtt_ms: float | None
    loss: float | None
    estimate_bps: int | None


class PublicationFlow(SessionFlow):
    encodings: list[EncodingFlow]


class SlotSeenFlow(BaseModel):
    frames: int
    dropped: int
    freezes: int
    frozen_ms: int
    concealed_ms: int
    height_px: int
    jitter_buffer_ms: int


class SlotFlow(BaseModel):
    name: str
    kind: str
    source: str | None
    slot_height_px: int | None
    shown_height_px: int | None
    layer: int | None
    wanted_layer: int | None
    target_bps: int | None
    packets: int
    payload_bytes: int
    retransmitted: int
    nacks_received: int
    plis_received: int
    loss: float
    why: list[str]
    seen: SlotSeenFlow | None  # told by the browser, over `seen_over_ms`


class ViewerFlow(SessionFlow):
    seat: str
    seen_over_ms: int | None
    slots: list[SlotFlow]


class LessonFlow(BaseModel):
    lesson_id: str
    title: str | None  # None for a room that is no lesson (a device check)
    class_name: str | None
    organisation: str | None
    publications: list[PublicationFlow]
    viewers: list[ViewerFlow]


class NodeFlow(BaseModel):
    node_id: str
    public_url: str
    started_at_ms: int
    answers: bool  # False: its heartbeat is there, it does not answer; the figures below it are 0 then
    draining: bool
    sessions: int
    max_sessions: int
    cpu: float  # share of the CPUs it may use, 0..1
    tx_bps: int
    at_ms: int
    memory_bytes: int
    publications: int
    viewers: int
    unsent_events: int
    redis_failures: int
    counters: dict[str, int]


class Operations(BaseModel):
    nodes: list[NodeFlow]
    lessons: list[LessonFlow]


@blueprint.get("/api/operations")
@validate_response(Operations)
async def get_operations() -> Operations:
    """Everything that goes on now, for operators of the platform; for anyone else there is no such page."""
    parts, actor = current_parts(), current_actor()
    if not await operates(parts.record, actor):
        raise NotFound()
    infos, overviews = await asyncio.gather(parts.media.nodes(), parts.media.overview())
    rooms: dict[str, LessonFlow] = {}
    people: set[str] = set()
    seats: set[str] = set()
    for seen in overviews.values():
        for session in [*seen["publications"], *seen["subscriptions"]]:
            people.add(session["holder"])
            seats.add(session["seat"])
            rooms.setdefault(session["room"], _empty(session["room"]))
    names, hints = await asyncio.gather(
        operations_names(parts.record, actor, rooms, people), hints_of(parts.redis, seats)
    )
    for room, lesson in rooms.items():
        known = names.lessons.get(room)
        if known is not None:
            lesson.title, lesson.class_name, lesson.organisation = known.title, known.class_name, known.organisation
    for node_id, seen in overviews.items():
        for session in seen["publications"]:
            rooms[session["room"]].publications.append(_publication(session, node_id, names.people))
        for session in seen["subscriptions"]:
            rooms[session["room"]].viewers.append(_viewer(session, node_id, names.people, hints.get(session["seat"])))
    for lesson in rooms.values():
        lesson.publications.sort(key=lambda each: each.id)
        lesson.viewers.sort(key=lambda each: (each.name or "", each.id))
    return Operations(
        nodes=[_node(info, overviews.get(info.node_id)) for info in infos],
        lessons=sorted(rooms.values(), key=lambda each: (each.title is None, each.title or "", each.lesson_id)),
    )


def _empty(room: str) -> LessonFlow:
    return LessonFlow(lesson_id=room, title=None, class_name=None, organisation=None, publications=[], viewers=[])


def _node(info: NodeInfo, seen: dict[str, Any] | None) -> NodeFlow:
    node = seen["node"] if seen is not None else {}
    return NodeFlow(
        node_id=info.node_id,
        public_url=info.public_url,
        started_at_ms=info.started_at_ms,
        answers=seen is not None,
        draining=info.draining,
        sessions=info.sessions,
        max_sessions=info.max_sessions,
        cpu=info.cpu,
        tx_bps=info.tx_bps,
        at_ms=node.get("at_ms", 0),
        memory_bytes=node.get("memory_bytes", 0),
        publications=len(seen["publications"]) if seen is not None else 0,
        viewers=len(seen["subscriptions"]) if seen is not None else 0,
        unsent_events=node.get("unsent_events", 0),
        redis_failures=node.get("redis_failures", 0),
        counters=node.get("counters", {}),
    )


def _session(session: dict[str, Any], node_id: str, people: dict[str, str]) -> dict[str, Any]:
    names = ("id", "state", "path", "rtt_ms", "loss", "estimate_bps")
    return {
        **{name: session[name] for name in names},
        "node_id": node_id,
        "person_id": session["holder"],
        "name": people.get(session["holder"]),
    }


def _publication(session: dict[str, Any], node_id: str, people: dict[str, str]) -> PublicationFlow:
    return PublicationFlow(**_session(session, node_id, people), encodings=session["encodings"])


def _viewer(session: dict[str, Any], node_id: str, people: dict[str, str], hint: dict[str, Any] | None) -> ViewerFlow:
    told = hint["slots"] if hint is not None else {}
    slots = []
    for slot in session["slots"]:
        seen = told.get(slot["name"]) if slot["source"] is not None else None
        slots.append(SlotFlow(**{**slot, "why": why_with(slot["why"], seen), "seen": seen}))
    return ViewerFlow(
        **_session(session, node_id, people),
        seat=session["seat"],
        seen_over_ms=hint["over_ms"] if hint is not None else None,
        slots=slots,
    )


def why_with(why: list[str], seen: dict[str, Any] | None) -> list[str]:
    """The node's reasons with what the browser adds: it froze, and whether the device itself is too slow."""
    found = []
    if seen is not None and seen["freezes"] > 0:
        found.append(FROZE)
    if seen is not None and seen["dropped"] > SLOW_SHARE * max(seen["frames"], 1):
        found.append(DEVICE_SLOW)
    return [*found, *(code for code in why if not (found and code == "best"))]
