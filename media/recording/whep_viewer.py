"""A viewer as any other, without a screen: WHEP, ICE checks, DTLS, SRTP, NACK. One UDP socket a subscription.

Packets come out of `on_packet(slot, packet)` as they arrive. The only file of the recorder that touches a socket.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pylibsrtp
from aioice import stun
from aiortc.rtp import (
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    RtpPacket,
    pack_remb_fci,
)
from pylibsrtp import Policy, Session

from media.dtls import DatagramPipe, DtlsTransport, NodeCertificate, SrtpKeys
from media.recording.reorder import Packet

logger = logging.getLogger(__name__)

CHECK_S = 0.1  # until the first answer
CONSENT_S = 4.0  # RFC 7675 5.1
HANDSHAKE_S = 10.0
REPORT_S = 1.0
RECEIVE_BUFFER_BYTES = 4 << 20  # some seconds of a lecture, while the disk is being waited for
_RTCP_TYPES = range(192, 224)  # RFC 5761 4
_NTP_EPOCH_S = 2_208_988_800

AUDIO_PAYLOAD_TYPE, H264_PAYLOAD_TYPES, VP8_PAYLOAD_TYPE = 111, (102, 104, 106, 108), 96
CODECS: dict[int, str] = {VP8_PAYLOAD_TYPE: "vp8", **{number: "h264" for number in H264_PAYLOAD_TYPES}}
# Every profile that browsers send in class, with packetisation mode 1: what comes is stored, not decoded.
_H264_PROFILES = ("42e01f", "42001f", "4d001f", "64001f")
_PROFILES = {
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    "AES128_CM_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
}


class ViewerRefused(RuntimeError):
    """The node did not take the subscription, or its answer cannot be used."""


@dataclass(frozen=True, slots=True)
class _Answer:
    ufrag: str
    pwd: str
    fingerprints: tuple[tuple[str, str], ...]
    candidates: tuple[tuple[str, int], ...]
    ssrcs: dict[int, int]  # SSRC → m-line


def write_offer(kinds: tuple[str, ...], ufrag: str, pwd: str, fingerprint: tuple[str, str]) -> str:
    """An offer that receives one stream of each kind, in order, on one transport."""
    lines = ["v=0", f"o=- {secrets.randbits(62)} 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    lines.append("a=group:BUNDLE " + " ".join(str(mid) for mid in range(len(kinds))))
    for mid, kind in enumerate(kinds):
        numbers = [AUDIO_PAYLOAD_TYPE] if kind == "audio" else [*H264_PAYLOAD_TYPES, VP8_PAYLOAD_TYPE]
        lines += [
            f"m={kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, numbers))}",
            "c=IN IP4 0.0.0.0",
            f"a=ice-ufrag:{ufrag}",
            f"a=ice-pwd:{pwd}",
            f"a=fingerprint:{fingerprint[0]} {fingerprint[1]}",
            "a=setup:actpass",
            f"a=mid:{mid}",
            "a=recvonly",
            "a=rtcp-mux",
            "a=rtcp-rsize",
        ]
        if kind == "audio":
            lines += [f"a=rtpmap:{AUDIO_PAYLOAD_TYPE} opus/48000/2", f"a=fmtp:{AUDIO_PAYLOAD_TYPE} useinbandfec=1"]
            lines.append(f"a=rtcp-fb:{AUDIO_PAYLOAD_TYPE} nack")
            continue
        for number, profile in zip(H264_PAYLOAD_TYPES, _H264_PROFILES, strict=True):
            lines.append(f"a=rtpmap:{number} H264/90000")
            lines.append(f"a=fmtp:{number} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile}")
        lines.append(f"a=rtpmap:{VP8_PAYLOAD_TYPE} VP8/90000")
        for number in numbers:
            lines += [f"a=rtcp-fb:{number} {feedback}" for feedback in ("nack", "nack pli", "goog-remb")]
    return "\r\n".join(lines) + "\r\n"


def read_answer_untrusted(text: str) -> _Answer:
    """What an answer says of transport and SSRCs. ViewerRefused for anything that cannot be used."""
    ufrag = pwd = ""
    fingerprints: list[tuple[str, str]] = []
    candidates: list[tuple[str, int]] = []
    ssrcs: dict[int, int] = {}
    line_number = -1
    try:
        for line in text.splitlines():
            name, _, value = line.partition(":")
            if line.startswith("m="):
                line_number += 1
            elif name == "a=ice-ufrag":
                ufrag = value
            elif name == "a=ice-pwd":
                pwd = value
            elif name == "a=fingerprint":
                algorithm, _, digest = value.partition(" ")
                fingerprints.append((algorithm, digest))
            elif name == "a=candidate":
                words = value.split()
                if words[2].lower() == "udp":
                    candidates.append((words[4], int(words[5])))
            elif name == "a=ssrc":
                ssrcs.setdefault(int(value.split()[0]), line_number)
    except (ValueError, IndexError) as error:
        raise ViewerRefused(f"an answer that cannot be read: {error}") from None
    if not (ufrag and pwd and fingerprints and candidates and ssrcs):
        raise ViewerRefused("an answer without ICE, a fingerprint, a candidate or streams")
    return _Answer(ufrag, pwd, tuple(dict.fromkeys(fingerprints)), tuple(candidates), ssrcs)


class WhepViewer(asyncio.DatagramProtocol):
    """`await WhepViewer.play(...)`, then packets come until `ended` is set; `close` says goodbye."""

    def __init__(
        self,
        certificate: NodeCertificate,
        on_packet: Callable[[int, Packet], None],
        on_report: Callable[[int, int, int], None],
    ) -> None:
        """`on_packet(m-line, packet)`; `on_report(m-line, NTP time in µs since 1970, RTP time)`."""
        self.ended = asyncio.Event()
        self.ssrcs: dict[int, int] = {}
        self._certificate = certificate
        self._on_packet = on_packet
        self._on_report = on_report
        self._ufrag, self._pwd = secrets.token_hex(4), secrets.token_hex(12)
        self._own_ssrc = secrets.randbits(31) + 1
        self._socket: asyncio.DatagramTransport | None = None
        self._remote: tuple[str, int] | None = None
        self._answer: _Answer | None = None
        self._checks: set[bytes] = set()
        self._checked = asyncio.Event()
        self._answered_s = 0.0
        self._pipe = DatagramPipe(self._send_datagram)
        self._rx: Session | None = None
        self._tx: Session | None = None
        self._sender_reports: dict[int, tuple[int, float]] = {}  # SSRC → (middle of its NTP time, monotonic s)
        self._location: str | None = None
        self._token = ""
        self._consent: asyncio.Task[None] | None = None
        self.bad_packets = 0

    async def play(self, http: httpx.AsyncClient, url: str, token: str, kinds: tuple[str, ...]) -> None:
        """Returns when media may come. ViewerRefused, httpx.HTTPError, OSError, TimeoutError; `close` after any."""
        offer = write_offer(kinds, self._ufrag, self._pwd, self._certificate.fingerprint())
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/sdp"}
        response = await http.post(url, content=offer, headers=headers)
        if response.status_code != 201:
            raise ViewerRefused(f"HTTP {response.status_code}: {response.text[:200]}")
        # Whatever name the public knows the node by, the session is ended where it was begun.
        self._location = url + "/" + response.headers.get("Location", "").rsplit("/", 1)[-1]
        self._token = token
        self._answer = read_answer_untrusted(response.text)
        self.ssrcs = self._answer.ssrcs
        await self._open(self._answer.candidates[0][0])
        async with asyncio.timeout(HANDSHAKE_S):
            await self._check()
            self._consent = asyncio.create_task(self._keep_consent())
            dtls = DtlsTransport(self._pipe, self._certificate, self._on_keys)
            # The node is ICE-lite and passive: it is the DTLS server, we are the client (RFC 8842 5.3).
            if not await dtls.handshake(self._answer.fingerprints, as_server=False):
                raise ViewerRefused("the DTLS handshake failed")

    async def _open(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        own = socket.socket(family, socket.SOCK_DGRAM)
        own.setblocking(False)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        own.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        self._socket, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=own)

    async def close(self, http: httpx.AsyncClient) -> None:
        self.ended.set()
        if self._consent is not None:
            self._consent.cancel()
        self._pipe.close()
        if self._location is not None:
            try:
                await http.delete(self._location, headers={"Authorization": f"Bearer {self._token}"})
            except httpx.HTTPError as error:
                logger.info("the node was not told that its viewer left: %s", type(error).__name__)
        if self._socket is not None:
            self._socket.close()

    # ICE (RFC 8445 7, as the controlling full agent beside a lite one) -----------------------------------------------

    async def _check(self) -> None:
        while not self._checked.is_set():
            for candidate in self._answer.candidates if self._answer is not None else ():
                self._send_check(candidate)
            try:
                await asyncio.wait_for(self._checked.wait(), CHECK_S)
            except TimeoutError:
                continue

    async def _keep_consent(self) -> None:
        self._answered_s = time.monotonic()
        while time.monotonic() - self._answered_s < 3 * CONSENT_S + 1:
            await asyncio.sleep(CONSENT_S)
            if self._remote is not None:
                self._send_check(self._remote)
        self.ended.set()

    def _send_check(self, candidate: tuple[str, int]) -> None:
        assert self._answer is not None and self._socket is not None, "checks follow the answer"
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{self._answer.ufrag}:{self._ufrag}"
        request.attributes["PRIORITY"] = 0x6E_00_1E_FF
        request.attributes["ICE-CONTROLLING"] = secrets.randbits(64)
        request.attributes["USE-CANDIDATE"] = None
        request.add_message_integrity(self._answer.pwd.encode())
        request.add_fingerprint()
        self._checks = {*list(self._checks)[-15:], request.transaction_id}
        self._socket.sendto(bytes(request), candidate)

    def _stun_untrusted(self, data: bytes, address: tuple[str, int]) -> None:
        try:
            message = stun.parse_message(data)
        except ValueError:
            self.bad_packets += 1
            return
        if message.message_class is stun.Class.RESPONSE and message.transaction_id in self._checks:
            self._answered_s = time.monotonic()
            if self._remote is None:
                self._remote = address
                self._checked.set()

    # Datagrams -----------------------------------------------------------------------------------------------------

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if not data:
            return
        first = data[0]  # RFC 7983 7
        if first < 4:
            self._stun_untrusted(data, address[:2])
        elif 20 <= first < 64:
            self._pipe.feed(data)
        elif 128 <= first < 192 and self._rx is not None and len(data) > 1:
            self._media_untrusted(self._rx, data)

    def error_received(self, error: Exception) -> None:
        logger.info("datagram refused: %s", error)

    def _send_datagram(self, data: bytes) -> None:
        if self._socket is not None and self._remote is not None and not self._socket.is_closing():
            self._socket.sendto(data, self._remote)

    def _on_keys(self, keys: SrtpKeys) -> None:
        profile = _PROFILES[keys.profile]
        rx = Policy(keys.rx_key + keys.rx_salt, Policy.SSRC_ANY_INBOUND, srtp_profile=profile)
        # A retransmission may be older than libsrtp's usual window of 128 packets.
        rx.window_size = 2048
        self._rx = Session(rx)
        self._tx = Session(Policy(keys.tx_key + keys.tx_salt, Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile))

    def _media_untrusted(self, session: Session, data: bytes) -> None:
        now_us = time.time_ns() // 1000
        try:
            if data[1] in _RTCP_TYPES:
                for report in RtcpPacket.parse(session.unprotect_rtcp(data)):
                    if isinstance(report, RtcpSrPacket):
                        self._sender_report(report)
                return
            packet = RtpPacket.parse(session.unprotect(data))
        except (pylibsrtp.Error, ValueError, IndexError):
            self.bad_packets += 1
            return
        line = self.ssrcs.get(packet.ssrc)
        if line is not None:
            self._on_packet(
                line,
                Packet(
                    packet.payload_type, bool(packet.marker), packet.sequence_number, packet.timestamp, packet.payload,
                    now_us,
                ),
            )  # fmt: skip

    def _sender_report(self, report: RtcpSrPacket) -> None:
        line = self.ssrcs.get(report.ssrc)
        if line is None:
            return
        ntp = report.sender_info.ntp_timestamp
        self._sender_reports[report.ssrc] = (ntp >> 16 & 0xFFFF_FFFF, time.monotonic())
        ntp_us = ((ntp >> 32) - _NTP_EPOCH_S) * 1_000_000 + ((ntp & 0xFFFF_FFFF) * 1_000_000 >> 32)
        self._on_report(line, ntp_us, report.sender_info.rtp_timestamp)

    # Feedback ------------------------------------------------------------------------------------------------------

    def ssrc_of(self, line: int) -> int | None:
        return next((ssrc for ssrc, of in self.ssrcs.items() if of == line), None)

    def ask_again(self, line: int, seqs: list[int]) -> None:
        """Generic NACK (RFC 4585 6.2.1)."""
        ssrc = self.ssrc_of(line)
        if ssrc is not None and seqs:
            self._send_rtcp(bytes(RtcpRtpfbPacket(1, self._own_ssrc, ssrc, list(seqs))))

    def ask_keyframe(self, line: int) -> None:
        """PLI (RFC 4585 6.3.1)."""
        ssrc = self.ssrc_of(line)
        if ssrc is not None:
            self._send_rtcp(bytes(RtcpPsfbPacket(1, self._own_ssrc, ssrc)))

    def can_take(self, bitrate_bps: int) -> None:
        """Tells the node what we can take (draft-alvestrand-rmcat-remb 2): all there is, where disk and network are the
        installation's own; a node that hears nothing assumes a narrow path and leaves out the best layers."""
        fci = pack_remb_fci(bitrate_bps, list(self.ssrcs))
        self._send_rtcp(bytes(RtcpPsfbPacket(15, self._own_ssrc, 0, fci)))

    def report(self, line: int, lost: int, fraction_lost: float, highest_seq: int) -> None:
        """A receiver report (RFC 3550 6.4.2), from which the node knows loss and round-trip time."""
        ssrc = self.ssrc_of(line)
        if ssrc is None:
            return
        last_sr, at_s = self._sender_reports.get(ssrc, (0, time.monotonic()))
        info = RtcpReceiverInfo(
            ssrc=ssrc,
            fraction_lost=min(255, int(fraction_lost * 256)),
            packets_lost=min(lost, 0x7F_FFFF),
            highest_sequence=highest_seq,
            jitter=0,
            lsr=last_sr,
            dlsr=int((time.monotonic() - at_s) * 65536) if last_sr else 0,
        )
        self._send_rtcp(bytes(RtcpRrPacket(self._own_ssrc, [info])))

    def _send_rtcp(self, data: bytes) -> None:
        if self._tx is not None:
            self._send_datagram(self._tx.protect_rtcp(data))
