"""The media house: a router that forwards and never transcodes, and the client that asks things of it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from media.errors import MediaError
from media.frame import EncodedFrame
from media.ice_servers import IceServer, Turn
from media.keys import MediaKeys
from media.node import MediaNodeConfig
from media.room import RoomSource
from media.tokens import Act, SlotClaim, mint

if TYPE_CHECKING:
    from media.control import Flow, MediaControl
    from media.registry import NodeInfo
    from media.server import run_media_node

__all__ = [
    "Act",
    "EncodedFrame",
    "Flow",
    "IceServer",
    "MediaControl",
    "MediaError",
    "MediaKeys",
    "MediaNodeConfig",
    "NodeInfo",
    "RoomSource",
    "SlotClaim",
    "Turn",
    "mint",
    "run_media_node",
]

# Only a media node's own process pays for sockets, DTLS and codecs, and only its callers for an HTTP client (PEP 562).
_LATE = {
    "Flow": "media.control",
    "MediaControl": "media.control",
    "NodeInfo": "media.registry",
    "run_media_node": "media.server",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module 'media' has no attribute {name!r}")
