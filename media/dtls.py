"""aiortc's DTLS transport over the router's datagrams: a handshake in, SRTP keys out (RFC 5764 4.2).

Only handshakes pass here; protected media never does. Every private name of aiortc that this file leans on is listed
in `AIORTC_NAMES`, and one test asserts that they are there.

A peer's certificate must be on a curve that OpenSSL still accepts in (D)TLS 1.2. FFmpeg's `whip` muxer, when built on
GnuTLS, makes itself a secp224r1 one, which RFC 8422 5.1.1 deprecated and OpenSSL 4 no longer has: give such an encoder
a P-256 certificate (its options `cert_file` and `key_file`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiortc.rtcdtlstransport import (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AEAD_AES_256_GCM,
    SRTP_AES128_CM_SHA1_80,
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    SRTPProtectionProfile,
    State,
)
from OpenSSL import SSL

if TYPE_CHECKING:
    from media._router import SrtpProfile

AIORTC_NAMES: dict[str, tuple[str, ...]] = {
    "RTCCertificate": ("_create_ssl_context", "_key", "_cert"),
    "RTCDtlsTransport": ("_setup_srtp", "_set_role", "_set_state", "_srtp_profiles", "_ssl", "_role", "_state"),
    "SRTPProtectionProfile": ("openssl_profile", "key_length", "salt_length", "get_key_and_salt"),
}

# Cheapest first: one AES-128-GCM packet costs a third to a fifth of AES-CM with HMAC-SHA1. The server's order decides.
PROFILE_ORDER: tuple[SRTPProtectionProfile, ...] = (
    SRTP_AEAD_AES_128_GCM,
    SRTP_AEAD_AES_256_GCM,
    SRTP_AES128_CM_SHA1_80,
)
PROFILE_NAMES: dict[bytes, SrtpProfile] = {
    SRTP_AEAD_AES_128_GCM.openssl_profile: "AEAD_AES_128_GCM",
    SRTP_AEAD_AES_256_GCM.openssl_profile: "AEAD_AES_256_GCM",
    SRTP_AES128_CM_SHA1_80.openssl_profile: "AES128_CM_HMAC_SHA1_80",
}

# RFC 5764 4.2.
SRTP_EXPORTER_LABEL = b"EXTRACTOR-dtls_srtp"
# A flight is a handful of datagrams; a flood beyond that is dropped, DTLS retransmits (RFC 6347 4.2.4).
MAX_WAITING_DATAGRAMS = 32
MAX_RECORD_BYTES = 1500


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """The keying material of one connection: `rx` opens what the peer sends, `tx` protects what we send."""

    profile: SrtpProfile
    rx_key: bytes
    rx_salt: bytes
    tx_key: bytes
    tx_salt: bytes


class NodeCertificate(RTCCertificate):
    """One certificate for the whole node, and one TLS context: a context per connection costs half a handshake."""

    _context: SSL.Context | None = None
    _fingerprint: tuple[str, str] | None = None

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        if self._context is None:
            self._context = super()._create_ssl_context(srtp_profiles)
            # Once the handshake is over an association is idle: 12 KiB of buffers for each viewer are given back.
            self._context.set_mode(SSL.MODE_RELEASE_BUFFERS)
            # Nobody resumes (each peer joins with one handshake), and a kept session outlives its association.
            self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
            self._context.set_options(SSL.OP_NO_TICKET)
        return self._context

    def fingerprint(self) -> tuple[str, str]:
        """(hash function, colon-separated hexadecimal) for an answer's `a=fingerprint` (RFC 8122 5)."""
        if self._fingerprint is None:
            first = self.getFingerprints()[0]
            self._fingerprint = (first.algorithm, first.value)
        return self._fingerprint


class DatagramPipe:
    """The three things that aiortc's DTLS transport wants of its ICE transport: `role`, `_recv`, `_send`."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self.role = "controlled"  # RFC 8445 6.1.1: the lite end is controlled
        self._send_datagram = send
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._closed = False

    def feed(self, datagram: bytes) -> bool:
        """Hands one received DTLS datagram over; False when it was dropped because too many wait."""
        if self._closed or self._waiting.qsize() >= MAX_WAITING_DATAGRAMS:
            return False
        self._waiting.put_nowait(datagram)
        return True

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._waiting.put_nowait(None)

    async def _recv(self) -> bytes:
        datagram = None if self._closed and self._waiting.empty() else await self._waiting.get()
        if datagram is None:
            raise ConnectionError("the transport is closed")
        return datagram

    async def _send(self, data: bytes) -> None:
        if not self._closed:
            self._send_datagram(data)


class DtlsTransport(RTCDtlsTransport):
    """A handshake that ends in `on_keys(SrtpKeys)` instead of in SRTP sessions of its own."""

    def __init__(self, pipe: DatagramPipe, certificate: NodeCertificate, on_keys: Callable[[SrtpKeys], None]) -> None:
        super().__init__(pipe, [certificate])  # type: ignore[arg-type]  # it uses only what DatagramPipe has
        self._srtp_profiles = list(PROFILE_ORDER)
        self._on_keys = on_keys

    async def handshake(self, fingerprints: tuple[tuple[str, str], ...], *, as_server: bool) -> bool:
        """Runs the handshake to its end; True when keys were handed out."""
        self._set_role("server" if as_server else "client")
        remote = [RTCDtlsFingerprint(algorithm=algorithm, value=value) for algorithm, value in fingerprints]
        await self.start(RTCDtlsParameters(fingerprints=remote))
        return self._state is State.CONNECTED

    def forget(self) -> bytes:
        """Frees the association, whose keys stay in use elsewhere. The sealed close_notify to end it with, later: it
        stays good, for nothing else is sealed after it. Whoever listens hears of no end."""
        assert self._ssl is not None, "only what has been through a handshake can be forgotten"
        if self._task is not None:
            self._task.cancel()
            self._task = None
        ssl, self._ssl = self._ssl, None
        try:
            ssl.shutdown()
            return ssl.bio_read(MAX_RECORD_BYTES)
        except SSL.Error:
            return b""  # closed by the peer just now: there is nobody to say it to

    def _setup_srtp(self) -> None:
        assert self._ssl is not None, "aiortc calls this at the end of a handshake"
        selected = self._ssl.get_selected_srtp_profile()
        profile = next((item for item in self._srtp_profiles if item.openssl_profile == selected), None)
        if profile is None:
            self._set_state(State.FAILED)
            return
        size_bytes = 2 * (profile.key_length + profile.salt_length)
        material = self._ssl.export_keying_material(SRTP_EXPORTER_LABEL, size_bytes)
        # RFC 5764 4.2: client_write first, server_write second.
        rx_index, tx_index = (0, 1) if self._role == "server" else (1, 0)
        rx, tx = profile.get_key_and_salt(material, rx_index), profile.get_key_and_salt(material, tx_index)
        cut = profile.key_length
        self._on_keys(SrtpKeys(PROFILE_NAMES[selected], rx[:cut], rx[cut:], tx[:cut], tx[cut:]))
