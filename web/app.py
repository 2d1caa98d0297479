"""The composition root of a web node: settings in, one ASGI application (page, HTTP API, Socket.IO) out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from importlib.metadata import version
from typing import Any

import structlog
from quart import Quart
from quart_schema import Info, QuartSchema

from signaling.server import make_server
from web.api.routes import install_api
from web.deliveries import EXTENSION as DELIVERIES
from web.deliveries import Deliveries
from web.live import EXTENSION as LIVE
from web.live import make_context
from web.metrics import install_metrics
from web.page import content_security_policy, install_headers, install_page
from web.parts import EXTENSION as PARTS
from web.parts import close_parts, open_parts
from web.queue import make_queue
from web.refusals import install_refusals
from web.settings import Settings

log = structlog.get_logger(__name__)

BODY_MAX_BYTES = 5_000_000  # three enrolment shots of 1 MB as base64, with room
Scope = MutableMapping[str, Any]
Asgi = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


def make_asgi(settings: Settings) -> Asgi:
    """Connects to nothing yet: the ASGI server's lifespan opens and closes every part."""
    app = compose(settings)
    asgi: Asgi = app.extensions[LIVE].asgi(app)
    return asgi


def compose(settings: Settings) -> Quart:
    """The HTTP application with its parts and the live server beside it; serving starts and stops both."""
    app = make_pages(settings)
    parts = open_parts(settings, make_queue(settings))
    live = make_server(make_context(parts))
    deliveries = Deliveries(parts.record)
    app.extensions[PARTS] = parts
    app.extensions[DELIVERIES] = deliveries
    app.extensions[LIVE] = live

    @app.before_serving
    async def start() -> None:
        await live.start()
        deliveries.start()
        log.info("web node started", url=settings.own_url)

    @app.after_serving
    async def stop() -> None:
        await deliveries.stop()
        await live.stop()
        await close_parts(parts)

    return app


def make_pages(settings: Settings) -> Quart:
    """The Quart application without its parts: what can be described without connecting anywhere."""
    app = Quart("web", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_MAX_BYTES
    QuartSchema(
        app,
        openapi_path="/api/openapi.json",
        # The viewers that quart-schema offers load scripts from third parties.
        redoc_ui_path=None,
        scalar_ui_path=None,
        swagger_ui_path=None,
        info=Info(title="安课 Anke", version=version("anke")),
        conversion_preference="pydantic",
    )
    app.json.ensure_ascii = False  # type: ignore[attr-defined]  # Chinese sentences stay readable on the wire
    install_metrics(app)
    install_headers(
        app,
        content_security_policy(settings.origins, settings.media_url),
        https=settings.own_url.startswith("https://"),
    )
    install_refusals(app)
    install_api(app)
    install_page(app, settings.ui_dist)
    return app
