"""Clients that cost little: real HTTP, ICE checks and DTLS to join, then plain sockets that count what arrives."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import select
import socket
import struct
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import psutil
from aiortc.rtcdtlstransport import SRTP_AEAD_AES_128_GCM, SRTP_PROFILES
from pylibsrtp import Policy, Session

from media.dtls import PROFILE_NAMES as SRTP_NAMES
from media.dtls import DatagramPipe, DtlsTransport, NodeCertificate, SrtpKeys

if TYPE_CHECKING:
    from stream import Burst

CONSENT_INTERVAL_S = 5.0  # RFC 7675 5.1
RECEIVE_BUFFER_BYTES = 4 << 20
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
MAX_DATAGRAM_BYTES = 2048
CHECKS, CHECK_INTERVAL_S = 200, 0.05
SAMPLE_PACKETS = 40
USE_CANDIDATE = b"\x00\x25\x00\x00"
PROFILES = {SRTP_NAMES[item.openssl_profile]: item.libsrtp_profile for item in SRTP_PROFILES}


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def connectivity_check(ufrag: str, pwd: str, own_ufrag: str, *, controlling: bool) -> bytes:
    """A binding request (RFC 8445 7.2.2): USERNAME, PRIORITY, ICE-CONTROLLING with USE-CANDIDATE or ICE-CONTROLLED,
    MESSAGE-INTEGRITY, FINGERPRINT."""
    body = attribute(0x0006, f"{ufrag}:{own_ufrag}".encode()) + attribute(0x0024, struct.pack("!I", 1))
    body += attribute(0x0025, b"") + attribute(0x802A, bytes(8)) if controlling else attribute(0x8029, bytes(8))
    transaction = os.urandom(12)

    return sign(lambda length: struct.pack("!HHI", 0x0001, length, 0x2112A442) + transaction, body, pwd)


def sign(header: Callable[[int], bytes], body: bytes, pwd: str) -> bytes:
    """A STUN message (RFC 8489) with MESSAGE-INTEGRITY and FINGERPRINT; `header(length)` gives its first 20 bytes."""
    digest = hmac.new(pwd.encode(), header(len(body) + 24) + body, hashlib.sha1).digest()
    body += attribute(0x0008, digest)
    crc = (zlib.crc32(header(len(body) + 8) + body) ^ 0x5354554E) & 0xFFFFFFFF
    body += attribute(0x8028, struct.pack("!I", crc))
    return header(len(body)) + body


def check_response(request: bytes, peer: tuple[str, int], pwd: str) -> bytes:
    """The success response to a binding request that came from `peer` (XOR-MAPPED-ADDRESS, RFC 8489 14.2)."""
    transaction = request[8:20]
    address = int.from_bytes(socket.inet_aton(peer[0])) ^ 0x2112A442
    body = attribute(0x0020, struct.pack("!BBHI", 0, 1, peer[1] ^ 0x2112, address))
    return sign(lambda length: struct.pack("!HHI", 0x0101, length, 0x2112A442) + transaction, body, pwd)


@dataclass
class LightPeer:
    """One joined client: its socket, its keys, and what it has received since `reset`."""

    name: str
    sock: socket.socket
    keys: SrtpKeys
    check: bytes
    protect: Session
    location: str = ""
    video: int = 0
    audio: int = 0
    sample: list[bytes] = field(default_factory=list)

    def send(self, packet: bytes) -> None:
        self.sock.send(self.protect.protect(packet))

    def reset(self) -> None:
        self.video = self.audio = 0


def receive_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except PermissionError:
        # Without the privilege the kernel gives what its limit allows.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    sock.setblocking(False)
    return sock


def answer_value(answer: str, name: str) -> str:
    return answer.split(f"a={name}:")[1].split("\r\n")[0]


def own_address() -> str | None:
    """This machine's first IPv4 address beside loopback; None where there is none."""
    addresses = (item for items in psutil.net_if_addrs().values() for item in items)
    v4 = [item.address for item in addresses if item.family == socket.AF_INET]
    return next((address for address in v4 if not address.startswith("127.")), None)


async def join(
    http: httpx.AsyncClient, url: str, token: str, offer: str, certificate: NodeCertificate, name: str
) -> LightPeer:
    """POSTs `offer` (whose `{ufrag}`, `{pwd}` and `{fingerprint}` are filled in), checks, shakes hands.

    RuntimeError when any of it fails.
    """

    location = ""

    async def exchange(sock: socket.socket, ufrag: str, pwd: str, fingerprint: str) -> str:
        nonlocal location
        text = offer.replace("{ufrag}", ufrag).replace("{pwd}", pwd).replace("{fingerprint}", fingerprint)
        headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"}
        response = await http.post(url, content=text, headers=headers)
        if response.status_code != 201:
            raise RuntimeError(f"{response.status_code} {response.text}")
        location = response.headers["Location"]
        return response.text

    peer = await shake_hands(exchange, certificate, name, controlling=True)
    peer.location = location
    return peer


async def shake_hands(
    exchange: Callable[[socket.socket, str, str, str], Awaitable[str]],
    certificate: NodeCertificate,
    name: str,
    *,
    controlling: bool,
) -> LightPeer:
    """ICE check and DTLS as client. `exchange(socket, ufrag, pwd, fingerprint)` says ours to the server and answers
    with its description. RuntimeError when any of it fails."""
    ufrag, pwd = os.urandom(4).hex(), os.urandom(12).hex()
    algorithm, digest = certificate.fingerprint()
    sock = receive_socket()
    description = await exchange(sock, ufrag, pwd, f"{algorithm} {digest}")
    candidate = answer_value(description, "candidate").split()
    loop = asyncio.get_running_loop()
    sock.connect((candidate[4], int(candidate[5])))
    names = answer_value(description, "ice-ufrag"), answer_value(description, "ice-pwd"), ufrag
    check = connectivity_check(*names, controlling=controlling)
    checked = loop.create_future()
    pipe = DatagramPipe(sock.send)

    def readable() -> None:
        while True:
            try:
                datagram = sock.recv(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            if 20 <= datagram[0] <= 63:  # RFC 7983 7
                pipe.feed(datagram)
            elif datagram[:2] == b"\x00\x01":
                sock.send(check_response(datagram, sock.getpeername(), pwd))
                # Before it has nominated, a controlling server drops what DTLS sends.
                if not controlling and USE_CANDIDATE in datagram and not checked.done():
                    checked.set_result(None)
            elif controlling and datagram[:2] == b"\x01\x01" and not checked.done():
                checked.set_result(None)

    found: list[SrtpKeys] = []
    dtls = DtlsTransport(pipe, certificate, found.append)
    # The same cipher for every server, whatever each would prefer.
    dtls._srtp_profiles = [SRTP_AEAD_AES_128_GCM]
    loop.add_reader(sock, readable)
    try:
        for _ in range(CHECKS):
            sock.send(check)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(checked), CHECK_INTERVAL_S)
                break
        else:
            raise RuntimeError(f"{name}: no answer to {CHECKS} connectivity checks")
        remote = tuple(answer_value(description, "fingerprint").split(maxsplit=1))
        if not await asyncio.wait_for(dtls.handshake((remote,), as_server=False), 15):  # type: ignore[arg-type]
            raise RuntimeError(f"{name}: the handshake failed")
        await asyncio.sleep(0)
    finally:
        loop.remove_reader(sock)
    # The client's association stays open without its reader: closing it would end the session.
    if dtls._task is not None:
        dtls._task.cancel()
    (keys,) = found
    return LightPeer(name, sock, keys, check, srtp(keys, outbound=True))


def srtp(keys: SrtpKeys, *, outbound: bool) -> Session:
    key = keys.tx_key + keys.tx_salt if outbound else keys.rx_key + keys.rx_salt
    kind = Policy.SSRC_ANY_OUTBOUND if outbound else Policy.SSRC_ANY_INBOUND
    return Session(Policy(key=key, ssrc_type=kind, srtp_profile=PROFILES[keys.profile]))


class Room:
    """A publisher (or none) and the viewers, run by one loop in one thread: send when due, else receive."""

    def __init__(
        self, publish: Callable[[bytes], None] | None, viewers: list[LightPeer], publisher: LightPeer | None = None
    ) -> None:
        self._publish = publish
        self._viewers = viewers
        self._peers = [*viewers, *([publisher] if publisher else [])]
        self._by_fd = {viewer.sock.fileno(): viewer for viewer in viewers}
        self._epoll = select.epoll()
        for fd in self._by_fd:
            self._epoll.register(fd, select.EPOLLIN)
        self._consent_at_s = 0.0
        self._buffer = bytearray(MAX_DATAGRAM_BYTES)
        self.published = 0

    def run(self, stream: Iterator[Burst], began_s: float, seconds: float) -> None:
        """Publishes and receives for `seconds` of wall time; `began_s` is when the stream's time 0 was."""
        ends_s = time.monotonic() + seconds
        burst = next(stream)
        while True:
            now_s = time.monotonic()
            if now_s >= ends_s:
                return
            if now_s >= self._consent_at_s:
                for peer in self._peers:
                    if peer.check:
                        peer.sock.send(peer.check)
                self._consent_at_s = now_s + CONSENT_INTERVAL_S
            while self._publish is not None and began_s + burst.due_s <= now_s:
                for packet in burst.packets:
                    self._publish(packet)
                self.published += len(burst.packets)
                burst = next(stream)
            due_s = began_s + burst.due_s if self._publish is not None else ends_s
            self.receive(max(0.0, min(due_s, ends_s) - time.monotonic()))

    def count(self, seconds: float) -> None:
        """Only receives, for `seconds` of wall time."""
        ends_s = time.monotonic() + seconds
        while (left_s := ends_s - time.monotonic()) > 0:
            self.receive(left_s)

    def receive(self, timeout_s: float) -> None:
        buffer = self._buffer
        for fd, _ in self._epoll.poll(timeout_s):
            viewer = self._by_fd[fd]
            receive = viewer.sock.recv_into
            while True:
                try:
                    size_bytes = receive(buffer)
                except BlockingIOError:
                    break
                # RFC 5761 4: second bytes 192..223 are RTCP. Video packets are ten times as long as audio ones.
                if buffer[0] & 0xC0 == 0x80 and not 192 <= buffer[1] <= 223:
                    if size_bytes > 600:
                        viewer.video += 1
                    else:
                        viewer.audio += 1
                    if len(viewer.sample) < SAMPLE_PACKETS:
                        viewer.sample.append(bytes(buffer[:size_bytes]))

    def close(self) -> None:
        self._epoll.close()
        for peer in self._peers:
            peer.sock.close()
