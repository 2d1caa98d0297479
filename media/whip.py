"""Publishing over HTTP: WHIP (RFC 9725). `POST /whip/{publication}`."""

from __future__ import annotations

from quart import Blueprint

from media.publication import Publication
from media.session_http import Desk, session_blueprint
from media.tokens import Act


def whip_blueprint(desk: Desk) -> Blueprint:
    """Publishing; the token's `act` is `publish`."""
    return session_blueprint(desk, "whip", Act.PUBLISH, desk.router.publish, Publication)
