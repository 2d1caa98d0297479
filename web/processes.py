"""The bodies of the one-role commands: a web node, a media node, a migration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from web.log import configure_log
from web.settings import Settings

GRACE_S = 3


def run_web(settings: Settings, ready: Callable[[], None] | None = None) -> None:
    """Serves until SIGTERM. `ready` is called when everything is imported and nothing is open yet.

    WebSocket frames are bounded well above the largest live message.
    """
    import uvicorn

    from media.listening import listen_on
    from web.app import make_asgi

    configure_log(settings.log_level)
    asgi = make_asgi(settings)
    if ready is not None:
        ready()
    listener = listen_on(settings.host, settings.web_port)
    config = uvicorn.Config(
        asgi,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        ws_max_size=1 << 20,
    )
    uvicorn.Server(config).run(sockets=[listener])


def upgrade_record(settings: Settings) -> None:
    from classroom import upgrade

    configure_log(settings.log_level)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    upgrade(settings.database)


def run_media(settings: Settings, ready: Callable[[], None] | None = None) -> None:
    """Runs the media node until SIGTERM; `ready` as in `run_web`."""
    from media import MediaNodeConfig
    from media.listening import datagram_addresses
    from media.server import serve_media_node

    configure_log(settings.log_level)
    if ready is not None:
        ready()
    config = MediaNodeConfig(
        bind=datagram_addresses(settings.host, settings.media_udp_port),
        http_host=settings.host,
        http_port=settings.media_port,
        public_url=settings.media_url,
        control_url=settings.media_control,
        redis_url=settings.redis,
        token_secret=settings.keys.media_token,
        control_secret=settings.keys.control,
        announced=tuple(settings.media_ips),
        origins=tuple(settings.origins),
        threads=settings.media_threads,
        turn=settings.ice_turn,
    )
    if settings.media_node_id:
        config = replace(config, node_id=settings.media_node_id)
    serve_media_node(config)
