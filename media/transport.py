"""One peer's transport: ICE credentials, the DTLS handshake and the native session behind them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from media.dtls import DatagramPipe, DtlsTransport, NodeCertificate, SrtpKeys
from media.goodbyes import Goodbyes
from media.rtp_parameters import LocalTransport, Offer, Setup

if TYPE_CHECKING:
    from media._router import Router as NativeRouter

logger = logging.getLogger(__name__)

# RFC 8445 5.3 asks for at least 24 bits of ufrag and 128 bits of password; base64url packs 6 bits a character.
UFRAG_BYTES = 6
PWD_BYTES = 18

# How long a peer may go on asking for our last flight. Its timer starts at 1 s or less and doubles (RFC 6347 4.2.4.1):
# three times lost, and the fourth still comes in time.
LAST_FLIGHT_S = 10.0
ALERT = 21  # RFC 6347 4.1
UNIFIED_HEADERS = range(32, 64)  # DTLS 1.3's encrypted records, alerts among them (RFC 9147 4)


class TransportState(StrEnum):
    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"


class Transport:
    """new → connecting (first valid connectivity check) → connected (SRTP keys set) → closed.

    With `goodbyes` the DTLS association goes once its keys are in use and the peer needs our last flight no more: it
    is half of what a viewer costs in memory. Our own close_notify is sealed before that and kept; the peer's can then
    not be opened, it is a hint whose sender is watched for signs of life.
    """

    def __init__(
        self,
        native: NativeRouter,
        transport_id: int,
        certificate: NodeCertificate,
        offer: Offer,
        *,
        on_connected: Callable[[], None],
        on_closed: Callable[[str], None],
        on_forgotten: Callable[[], None],
        goodbyes: Goodbyes | None = None,
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
        # What is needed of the offer after the answer; the offer itself is a hundred objects.
        line = next(line for line in offer.media if not line.rejected)
        self.tagged_line = line.kind, line.mid  # of the m-line that carries the bundle's transport (RFC 8843 7.3)
        self._fingerprints = offer.fingerprints
        self._we_are_dtls_server = offer.we_are_dtls_server
        self._remote_ufrag = offer.ice_ufrag
        self._on_connected = on_connected
        self._on_closed = on_closed
        self._on_forgotten = on_forgotten
        self._goodbyes = goodbyes
        self._pipe: DatagramPipe | None = DatagramPipe(lambda datagram: native.send_dtls(transport_id, datagram))
        self._dtls: DtlsTransport | None = None
        # The loop keeps only weak references to tasks, so they are held here until they end.
        self._handshake: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._forgetting: asyncio.TimerHandle | None = None
        self._farewell: bytes | None = None
        native.add_transport(transport_id, self.ice_ufrag, self.ice_pwd, offer.ice_ufrag)

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
            setup=Setup.PASSIVE if self._we_are_dtls_server else Setup.ACTIVE,
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
        if self.state is TransportState.NEW and not self._we_are_dtls_server:
            self._begin()

    def feed(self, datagram: bytes) -> None:
        """A DTLS datagram of the peer."""
        if self.state is TransportState.CLOSED:
            return
        if self.state is TransportState.NEW:
            self._begin()
        if self._pipe is not None and self._pipe.feed(datagram):
            return
        self.dropped_datagrams += 1
        if self._farewell is not None and self._goodbyes is not None:
            if datagram[0] == ALERT or datagram[0] in UNIFIED_HEADERS:
                self._goodbyes.hear(self.transport_id, lambda: self.close("peer_closed"))

    def _begin(self) -> None:
        assert self._pipe is not None, "it goes after the handshake"
        self.state = TransportState.CONNECTING
        self._dtls = DtlsTransport(self._pipe, self._certificate, self._keys)
        self._dtls.on("statechange", self._dtls_changed)
        self._handshake = asyncio.get_running_loop().create_task(self._shake(self._dtls))

    async def _shake(self, dtls: DtlsTransport) -> None:
        if not await dtls.handshake(self._fingerprints, as_server=self._we_are_dtls_server):
            self.close("dtls_failed")

    def _keys(self, keys: SrtpKeys) -> None:
        if self.state is not TransportState.CONNECTING:
            return
        self._native.set_srtp_keys(
            self.transport_id, keys.profile, keys.rx_key, keys.rx_salt, keys.tx_key, keys.tx_salt
        )
        self.profile = keys.profile
        self.state = TransportState.CONNECTED
        if self._goodbyes is not None:
            self._forgetting = asyncio.get_running_loop().call_later(LAST_FLIGHT_S, self._forget_association)
        self._on_connected()

    def _forget_association(self) -> None:
        if self.state is not TransportState.CONNECTED or self._dtls is None or self._pipe is None:
            return
        self._dtls.remove_all_listeners()
        self._farewell = self._dtls.forget()
        self._pipe.close()
        self._pipe = self._dtls = self._handshake = self._forgetting = None
        self._on_forgotten()

    def _dtls_changed(self) -> None:
        # The peer's close_notify: the session is over now, not when consent runs out half a minute later.
        if self._dtls is not None and self._dtls.state == "closed":
            self.close("peer_closed")

    def close(self, reason: str) -> None:
        """Ends the transport, tells the peer (DTLS close_notify) and calls `on_closed(reason)`. Idempotent."""
        if self.state is TransportState.CLOSED:
            return
        self.state = TransportState.CLOSED
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
        if self._goodbyes is not None:
            self._goodbyes.forget(self.transport_id)
        if self._farewell:
            self._native.send_dtls(self.transport_id, self._farewell)
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
        if self._pipe is not None:
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
