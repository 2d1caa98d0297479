"""For load balancers and operators: is this node able to serve, and its counters for Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from quart import Blueprint, Response, jsonify
from quart_schema import document_response, hide

from classroom import live_lessons
from media.errors import MediaError
from web.parts import Parts, current_parts

blueprint = Blueprint("health", __name__)

CHECK_TIMEOUT_S = 1.5


class PartHealth(BaseModel):
    ok: bool
    ms: float
    reason: str | None = None


class Health(BaseModel):
    ok: bool
    parts: dict[str, PartHealth]
    warnings: list[str] = []


async def _timed(check: Awaitable[object]) -> PartHealth:
    started = time.perf_counter()
    reason = None
    try:
        await asyncio.wait_for(check, CHECK_TIMEOUT_S)
    except TimeoutError:
        reason = f"no answer within {CHECK_TIMEOUT_S} s"
    except Exception as error:  # noqa: BLE001 - whatever a part fails with is the reason it is not healthy
        reason = f"{type(error).__name__}: {error}"[:200]
    return PartHealth(ok=reason is None, ms=round((time.perf_counter() - started) * 1000, 1), reason=reason)


async def health_of(parts: Parts) -> Health:
    names = ("record", "redis", "media")
    checks = await asyncio.gather(
        _timed(live_lessons(parts.record)), _timed(parts.redis.ping()), _timed(parts.media.node())
    )
    return Health(
        ok=all(check.ok for check in checks),
        parts=dict(zip(names, checks, strict=True)),
        warnings=await relay_warnings(parts),
    )


async def relay_warnings(parts: Parts) -> list[str]:
    """TURN servers that do not relay to a media node. The class goes on without them, so health stays well, but who
    sits behind a strict firewall sees nothing."""
    try:
        nodes = await asyncio.wait_for(parts.media.nodes(), CHECK_TIMEOUT_S)
    except (MediaError, TimeoutError):
        return []  # told above as the media part's own failure
    return [
        f"TURN {url} does not relay to media node {node.node_id}: {problem}"
        for node in nodes
        for url, problem in (node.relay_problems or {}).items()
    ]


@blueprint.get("/healthz")
@document_response(Health)
@document_response(Health, 503)
async def get_health() -> Response:
    """200 when the database, Redis and a media node answer; 503 with the reasons otherwise."""
    health = await health_of(current_parts())
    response = jsonify(health.model_dump())
    response.status_code = 200 if health.ok else 503
    return response


@blueprint.get("/metrics")
@hide
async def get_metrics() -> Response:
    return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)
