"""Joins the noun files into the API. Every blueprint is guarded by sign-in unless it is listed as open."""

from __future__ import annotations

from quart import Quart

from web.api import (
    classes,
    consents,
    credit,
    demo,
    faces,
    health,
    lessons,
    live_lecture,
    media,
    operations,
    people,
    recordings,
    sessions,
)
from web.auth import require_actor

OPEN = (sessions.open_blueprint, consents.open_blueprint, demo.blueprint, health.blueprint, live_lecture.open_blueprint)
GUARDED = (
    sessions.blueprint,
    people.blueprint,
    consents.blueprint,
    faces.blueprint,
    lessons.blueprint,
    classes.blueprint,
    credit.blueprint,
    media.blueprint,
    operations.blueprint,
    recordings.blueprint,
    live_lecture.blueprint,
)


def install_api(app: Quart) -> None:
    for blueprint in OPEN:
        app.register_blueprint(blueprint)
    for blueprint in GUARDED:
        if require_actor not in blueprint.before_request_funcs.get(None, []):
            blueprint.before_request(require_actor)
        app.register_blueprint(blueprint)
