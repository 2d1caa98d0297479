"""`anke media --join` and `--drain`: a further media node of an installation that runs elsewhere, and its way out."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from media import MediaControl, MediaError
from media.listening import in_url
from signaling.context import connect_redis
from web.settings import WILDCARDS, Settings


class JoinRefused(RuntimeError):
    """What is missing, in one sentence."""


def joined(settings: Settings, address: str | None) -> Settings:
    """The settings of a node that is reached at `address` (default: the one that this machine reaches Redis by).

    Nothing is made up that has to be the installation's: JoinRefused without its Redis, its page's address, its keys.
    """
    if not settings.redis_url:
        raise JoinRefused("--redis-url (or ANKE_REDIS_URL) names the Redis of the installation that is joined")
    if not settings.web_url:
        raise JoinRefused("--web-url (or ANKE_WEB_URL) is what people type; other pages may not reach the node")
    if missing := settings.keys.missing_for_media():
        raise JoinRefused(f"the installation's keys are not here: copy {' and '.join(missing)}, or set {KEY_VARIABLES}")
    reached = address or _way_to(settings.redis_url)
    if settings.host in WILDCARDS or settings.host not in ("127.0.0.1", reached):
        host = settings.host
    else:
        host = reached if _is_ours(reached) else ("::" if ip_address(reached).version == 6 else "0.0.0.0")
    url = f"http://{in_url(reached)}:{settings.media_port}"
    changes: dict[str, object] = {
        "host": host,
        "media_public_ips": settings.media_public_ips or [reached],
        "media_public_url": settings.media_public_url or url,
        "media_control_url": settings.media_control_url or url,
    }
    return settings.model_copy(update=changes)


KEY_VARIABLES = "ANKE_MEDIA_TOKEN_KEY and ANKE_CONTROL_KEY"


def _way_to(redis_url: str) -> str:
    parts = urlsplit(redis_url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 6379
    try:
        family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(where)  # sends nothing; the kernel names the address it would send from
            return str(probe.getsockname()[0])
    except OSError as error:
        raise JoinRefused(
            f"no way to {host}: {error.strerror or error}; --address says how this machine is reached"
        ) from None


def _is_ours(address: str) -> bool:
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


async def run_drain(settings: Settings, node_id: str) -> str:
    """Tells the node; answers what is to be said. JoinRefused when there is no such node."""
    redis = connect_redis(settings.redis)
    control = MediaControl(redis, settings.keys.control)
    try:
        nodes = await control.nodes()
        if node_id not in {node.node_id for node in nodes}:
            here = ", ".join(node.node_id for node in nodes) or "none"
            raise JoinRefused(f"no media node {node_id}; alive: {here}")
        await control.drain(node_id)
        others = [node for node in nodes if node.node_id != node_id and not node.draining]
    except MediaError as error:
        raise JoinRefused(str(error)) from error
    finally:
        await control.close()
        await redis.aclose()
    if not others:
        return f"{node_id} drains, and there is no other node: whoever is on it stays until there is"
    return f"{node_id} drains; its sessions go to {len(others)} other node(s)"
