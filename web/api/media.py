"""The device check's media legs: short-lived publications of one's own, and which media nodes are up."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel
from quart import Blueprint
from quart_schema import validate_response

from media.tokens import mint
from signaling.context import epoch_ms
from signaling.ice_grants import ice_servers
from signaling.protocol import MediaGrant
from web.auth import current_actor
from web.parts import current_parts

blueprint = Blueprint("media_legs", __name__)

PROBE_TTL_S = 60  # the page publishes for three seconds; the token allows a slow permission dialogue


Way = Literal["udp", "tcp", "relay"]
WAYS: tuple[Way, ...] = get_args(Way)


class ProbeAnswer(BaseModel):
    ways: dict[Way, MediaGrant]


class NodeFacts(BaseModel):
    node_id: str
    public_url: str
    started_at_ms: int
    relay_problems: dict[str, str] | None  # by URL of a TURN server, why it does not relay to this node


class MediaHealth(BaseModel):
    nodes: list[NodeFacts]


@blueprint.get("/api/probe")
@validate_response(ProbeAnswer)
async def get_probe() -> ProbeAnswer:
    """Publishing by each way shows whether it opens and its round trip; nobody can watch it and nothing is kept."""
    parts, actor = current_parts(), current_actor()
    node = await parts.media.node()
    now_ms, turn = epoch_ms(), ice_servers(parts.settings.ice_turn, actor.person_id, epoch_ms())

    def grant(way: Way) -> MediaGrant:
        # An id of its own for each way: all are tried at once, and a second publication of one id replaces the first.
        publication_id = f"probe.{actor.session_id}.{way}"
        token = mint(
            parts.settings.keys.media_token,
            holder=actor.person_id,
            seat=f"probe.{actor.session_id}",
            room="probe",
            act="publish",
            id=publication_id,
            now_ms=now_ms,
            lifetime_ms=PROBE_TTL_S * 1000,
        )
        return MediaGrant(
            url=f"{node.public_url}/whip/{publication_id}",
            token=token,
            id=publication_id,
            ice_servers=turn if way == "relay" else [],
        )

    return ProbeAnswer(ways={way: grant(way) for way in WAYS})


@blueprint.get("/api/media-health")
@validate_response(MediaHealth)
async def get_media_health() -> MediaHealth:
    nodes = await current_parts().media.nodes()
    return MediaHealth(
        nodes=[
            NodeFacts(
                node_id=node.node_id,
                public_url=node.public_url,
                started_at_ms=node.started_at_ms,
                relay_problems=node.relay_problems,
            )
            for node in nodes
        ]
    )
