"""The link between two nodes: agreed on over their control interfaces, kept by the native router (`core/links.rs`).

One link per pair carries everything both ways, since the router tells peers apart by their address. It is always made
by the node with the lower id, at its own wish or when the other asks for it, so two nodes that want one at the same
moment do not make two. Each end makes the key it sends with; a link made anew has new keys and new SSRCs.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from media.control_call import call
from media.errors import MediaError
from media.tokens import valid_name

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from media._router import SrtpProfile
    from media.node import MediaNode
    from media.registry import NodeInfo
    from media.router import MediaRouter

logger = logging.getLogger(__name__)

PROFILE: SrtpProfile = "AEAD_AES_128_GCM"
KEY_BYTES, SALT_BYTES = 16, 12  # RFC 7714 12
# As for any ICE agent: at least 24 bits of ufrag, 128 bits of password (RFC 8445 5.3).
UFRAG_BYTES, PWD_BYTES = 6, 18
MAX_ADDRESSES = 32
LINK_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Terms:
    """One end of a link as the other has to know it. `key` and `salt` protect what this end sends."""

    link_id: str
    node_id: str
    ufrag: str
    pwd: str
    addresses: tuple[tuple[str, int], ...]
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)

    @classmethod
    def fresh(cls, link_id: str, node_id: str, addresses: tuple[tuple[str, int], ...]) -> Terms:
        ufrag, pwd = secrets.token_hex(UFRAG_BYTES), secrets.token_hex(PWD_BYTES)
        return cls(
            link_id, node_id, ufrag, pwd, addresses, secrets.token_bytes(KEY_BYTES), secrets.token_bytes(SALT_BYTES)
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "link_id": self.link_id,
            "node_id": self.node_id,
            "ufrag": self.ufrag,
            "pwd": self.pwd,
            "addresses": [list(address) for address in self.addresses],
            "key": base64.b64encode(self.key).decode(),
            "salt": base64.b64encode(self.salt).decode(),
        }

    @classmethod
    def read_untrusted(cls, body: dict[str, Any]) -> Terms:
        """MediaError `bad_request` and nothing else."""
        try:
            texts = [body[name] for name in ("link_id", "node_id", "ufrag", "pwd")]
            addresses = tuple((str(ip), int(port)) for ip, port in body["addresses"])
            key = base64.b64decode(body["key"], validate=True)
            salt = base64.b64decode(body["salt"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise MediaError("bad_request", f"terms of a link: {type(error).__name__}") from None
        fits = len(key) == KEY_BYTES and len(salt) == SALT_BYTES and 0 < len(addresses) <= MAX_ADDRESSES
        if (
            not fits
            or not all(valid_name(text) for text in texts)
            or not all(0 < port < 65536 for _, port in addresses)
        ):
            raise MediaError("bad_request", "terms of a link")
        link_id, node_id, ufrag, pwd = texts
        return cls(link_id, node_id, ufrag, pwd, addresses, key, salt)


@dataclass(slots=True, eq=False)
class Link:
    link_id: str
    peer_id: str
    transport_id: int
    closed: bool = False


class Links:
    """This node's links, at most one to each other node. `on_closed` hears of each that ended, by whatever end."""

    def __init__(
        self, node: MediaNode, router: MediaRouter, http: httpx.AsyncClient, secret: str, own_url: str
    ) -> None:
        self.on_closed: Callable[[Link], None] = lambda link: None
        self._node = node
        self._router = router
        self._http = http
        self._secret = secret
        self._own_url = own_url
        self._links: dict[str, Link] = {}
        self._making: dict[str, asyncio.Lock] = {}

    def live(self, node_id: str) -> Link | None:
        return self._links.get(node_id)

    async def to(self, peer: NodeInfo) -> Link:
        """The link to this node, made when there is none. MediaError."""
        if (link := self._links.get(peer.node_id)) is not None:
            return link
        if self._node.node_id < peer.node_id:
            return await self.make(peer.node_id, peer.control_url)
        for anew in (False, True):
            body = {"node_id": self._node.node_id, "control_url": self._own_url, "anew": anew}
            await call(self._http, self._secret, peer.control_url, "POST", "link/wish", body, 2 * LINK_TIMEOUT_S)
            # The other end offered it to this one (`accept`) before it answered. Where it believes in one that this
            # end no longer has, it makes another at the second asking.
            if (link := self._links.get(peer.node_id)) is not None:
                return link
        raise MediaError("no_link", peer.node_id)

    async def make(self, peer_id: str, control_url: str, *, anew: bool = False) -> Link:
        """Offers a link to the other end, unless there is one."""
        if not self._node.node_id < peer_id:
            raise MediaError("bad_request", "the node with the lower id makes the link")
        async with self._making.setdefault(peer_id, asyncio.Lock()):
            if (link := self._links.get(peer_id)) is not None and not anew:
                return link
            ours = self._terms("k_" + secrets.token_hex(6))
            answer = await call(self._http, self._secret, control_url, "POST", "link", ours.to_dict(), LINK_TIMEOUT_S)
            return self._establish(ours, Terms.read_untrusted(answer))

    def accept(self, theirs: Terms) -> Terms:
        """Takes the offer of a node with a lower id; answers this end's terms."""
        if not theirs.node_id < self._node.node_id:
            raise MediaError("bad_request", "the node with the lower id makes the link")
        ours = self._terms(theirs.link_id)
        self._establish(ours, theirs)
        return ours

    def _terms(self, link_id: str) -> Terms:
        return Terms.fresh(link_id, self._node.node_id, self._router.candidates)

    def _establish(self, ours: Terms, theirs: Terms) -> Link:
        if ours.link_id != theirs.link_id:
            raise MediaError("no_link", "the other end answered for another link")
        self.close(theirs.node_id, "replaced")
        transport_id = self._router.new_id()
        link = Link(ours.link_id, theirs.node_id, transport_id)
        try:
            self._router.native.add_link(
                transport_id, ours.ufrag, ours.pwd, theirs.ufrag, theirs.pwd, list(theirs.addresses)
            )
        except (ValueError, OSError) as error:
            raise MediaError("no_link", str(error)) from error
        self._router.native.set_srtp_keys(transport_id, PROFILE, theirs.key, theirs.salt, ours.key, ours.salt)
        self._router.on_transport_closed[transport_id] = lambda reason: self._gone(link, reason)
        self._links[theirs.node_id] = link
        logger.info("link %s to %s made", link.link_id, link.peer_id)
        return link

    def close(self, node_id: str, reason: str) -> None:
        link = self._links.get(node_id)
        if link is not None:
            self._router.native.remove_transport(link.transport_id)
            self._gone(link, reason)

    def _gone(self, link: Link, reason: str) -> None:
        if link.closed:
            return
        link.closed = True
        self._router.on_transport_closed.pop(link.transport_id, None)
        if self._links.get(link.peer_id) is link:
            del self._links[link.peer_id]
        logger.info("link %s to %s closed: %s", link.link_id, link.peer_id, reason)
        self.on_closed(link)

    def snapshot(self) -> list[dict[str, object]]:
        return [
            {"link_id": link.link_id, "peer_id": link.peer_id, "transport_id": link.transport_id}
            for link in self._links.values()
        ]
