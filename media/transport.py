"""One peer's transport: ICE credentials, the DTLS handshake and the native session behind them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from media.dtls import DatagramPipe, DtlsTransport, NodeCertificate, SrtpKeys
from media.rtp_parameters import LocalTransport, Offer, Setup

if TYPE_CHECKING:
    from media._router import Router as NativeRouter

logger = logging.getLogger(__name__)

# RFC 8445 5.3 asks for at least 24 bits of ufrag and 128 bits of password; base64url packs 6 bits a character.
UFRAG_BYTES = 6
PWD_BYTES = 18


class TransportState(StrEnum):
    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"


class Transport:
    """new → connecting (first valid connectivity check) → connected (SRTP keys set) → closed."""

    def __init__(
        self,
        native: NativeRouter,
        transport_id: int,
        certificate: NodeCertificate,
        offer: Offer,
        *,
        on_connected: Callable[[], None],
        on_closed: Callable[[str], None],
    ) -> None:
        self.transport_id = transport_id
        self.state = TransportState.NEW
        self.ice_ufrag, self.ice_pwd = ice_credentials()
        self.remote: tuple[str, int] | None = None
        self.profile: str | None = None
        self.ice_restarts = 0
        self.dropped_datagrams = 0
        self._native = native
        self._certificate = certificate
        self._offer = offer
        self._remote_ufrag = offer.ice_ufrag
        self._on_connected = on_connected
        self._on_closed = on_closed
        self._pipe = DatagramPipe(lambda datagram: native.send_dtls(transport_id, datagram))
        self._dtls: DtlsTransport | None = None
        # The loop keeps only weak references to tasks, so they are held here until they end.
        self._handshake: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        native.add_transport(transport_id, self.ice_ufrag, self.ice_pwd, offer.ice_ufrag)

    @property
    def tagged_line(self) -> tuple[str, str]:
        """Kind and mid of the m-line that carries the bundle's transport (RFC 8843 7.3)."""
        line = next(line for line in self._offer.media if not line.rejected)
        return line.kind, line.mid

    @property
    def remote_ufrag(self) -> str:
        """The peer's, as of its offer or its last ICE restart."""
        return self._remote_ufrag

    def local(self, candidates: tuple[tuple[str, int], ...], *, tcp: bool = False) -> LocalTransport:
        """Our half of the answer's transport attributes."""
        return LocalTransport(
            ice_ufrag=self.ice_ufrag,
            ice_pwd=self.ice_pwd,
            fingerprint=self._certificate.fingerprint(),
            setup=Setup.PASSIVE if self._offer.we_are_dtls_server else Setup.ACTIVE,
            candidates=candidates,
            tcp=tcp,
        )

    def restart_ice(self, remote_ufrag: str) -> None:
        """New credentials on both sides (RFC 8445 9). DTLS, SRTP and everything routed go on; the old credentials are
        good until the peer's first check with the new ones."""
        self.ice_ufrag, self.ice_pwd = ice_credentials()
        self._remote_ufrag = remote_ufrag
        self.ice_restarts += 1
        self._native.restart_ice(self.transport_id, self.ice_ufrag, self.ice_pwd, remote_ufrag)

    def checked(self, ip: str, port: int) -> None:
        """A connectivity check succeeded from this address: a DTLS client of ours may speak now."""
        self.remote = (ip, port)
        if self.state is TransportState.NEW and not self._offer.we_are_dtls_server:
            self._begin()

    def feed(self, datagram: bytes) -> None:
        """A DTLS datagram of the peer."""
        if self.state is TransportState.CLOSED:
            return
        if self.state is TransportState.NEW:
            self._begin()
        if not self._pipe.feed(datagram):
            self.dropped_datagrams += 1

    def _begin(self) -> None:
        self.state = TransportState.CONNECTING
        self._dtls = DtlsTransport(self._pipe, self._certificate, self._keys)
        self._dtls.on("statechange", self._dtls_changed)
        self._handshake = asyncio.get_running_loop().create_task(self._shake(self._dtls))

    async def _shake(self, dtls: DtlsTransport) -> None:
        if not await dtls.handshake(self._offer.fingerprints, as_server=self._offer.we_are_dtls_server):
            self.close("dtls_failed")

    def _keys(self, keys: SrtpKeys) -> None:
        if self.state is not TransportState.CONNECTING:
            return
        self._native.set_srtp_keys(
            self.transport_id, keys.profile, keys.rx_key, keys.rx_salt, keys.tx_key, keys.tx_salt
        )
        self.profile = keys.profile
        self.state = TransportState.CONNECTED
        self._on_connected()

    def _dtls_changed(self) -> None:
        # The peer's close_notify: the session is over now, not when consent runs out half a minute later.
        if self._dtls is not None and self._dtls.state == "closed":
            self.close("peer_closed")

    def close(self, reason: str) -> None:
        """Ends the transport, tells the peer (DTLS close_notify) and calls `on_closed(reason)`. Idempotent."""
        if self.state is TransportState.CLOSED:
            return
        self.state = TransportState.CLOSED
        if self._dtls is not None:
            self._leaving = asyncio.get_running_loop().create_task(self._leave(self._dtls))
        else:
            self._release()
        self._on_closed(reason)

    async def _leave(self, dtls: DtlsTransport) -> None:
        await dtls.stop()
        dtls.remove_all_listeners()
        self._release()

    def _release(self) -> None:
        self._pipe.close()
        self._native.remove_transport(self.transport_id)
        self._dtls = None
        self._handshake = None

    def snapshot(self) -> dict[str, object]:
        return {
            "transport_id": self.transport_id,
            "state": self.state.value,
            "remote": self.remote,
            "profile": self.profile,
            "ice_restarts": self.ice_restarts,
            "dropped_datagrams": self.dropped_datagrams,
        }


def ice_credentials() -> tuple[str, str]:
    """A fresh ufrag and password."""
    return _ice_text(UFRAG_BYTES), _ice_text(PWD_BYTES)


def _ice_text(size_bytes: int) -> str:
    # RFC 8839 5.4: ice-char is ALPHA / DIGIT / "+" / "/"; base64url's other two characters are replaced.
    return secrets.token_urlsafe(size_bytes).replace("-", "+").replace("_", "/")
