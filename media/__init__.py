"""The media house: a router that forwards and never transcodes, and the client that asks things of it."""

from typing import TYPE_CHECKING, Any

from media.control import Flow, MediaControl, NodeInfo
from media.errors import MediaError
from media.frame import EncodedFrame
from media.keys import MediaKeys
from media.node import IceServer, MediaNodeConfig
from media.tokens import Act, SlotClaim, mint

if TYPE_CHECKING:
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
    "SlotClaim",
    "mint",
    "run_media_node",
]


def __getattr__(name: str) -> Any:
    # Only a media node's own process pays for sockets, DTLS and codecs (PEP 562).
    if name == "run_media_node":
        from media.server import run_media_node

        return run_media_node
    raise AttributeError(name)
