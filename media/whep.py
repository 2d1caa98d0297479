"""Playing over HTTP: WHEP (draft-ietf-wish-whep), the client's offer form. `POST /whep/{subscription}`."""

from __future__ import annotations

from quart import Blueprint

from media.session_http import Desk, session_blueprint
from media.subscription import Subscription
from media.tokens import Act


def whep_blueprint(desk: Desk) -> Blueprint:
    """Playing; the token's `act` is `play` and its slots are what the offer's m-lines receive, kind by kind."""
    return session_blueprint(desk, "whep", Act.PLAY, desk.router.play, Subscription)
