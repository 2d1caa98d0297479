"""The live side as the HTTP side sees it: built from the parts, and told when a session ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from quart import current_app

from classroom import Actor, find_actor
from signaling.context import Context
from web.auth import SESSION_COOKIE

if TYPE_CHECKING:
    from signaling.server import LiveServer
    from web.parts import Parts

EXTENSION = "anke.live"


def make_context(parts: Parts) -> Context:
    """What signaling needs of this node. The conductor, the relay and the namespace share it."""

    async def find(token: str) -> Actor | None:
        return await find_actor(parts.record, token)

    return Context(
        record=parts.record,
        redis=parts.redis,
        redis_url=parts.settings.redis,
        media=parts.media,
        celery=parts.jobs,
        media_token_key=parts.settings.keys.media_token,
        turn=parts.settings.ice_turn,
        find_actor=find,
        session_cookie=SESSION_COOKIE,
        allowed_origins=parts.settings.origins,
    )


def current_live() -> LiveServer:
    """The live server beside this application."""
    return cast("LiveServer", current_app.extensions[EXTENSION])
