"""Clients that cost little: real HTTP, ICE checks and DTLS to join, then plain sockets that count what arrives."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import select
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
from aiortc.rtcdtlstransport import SRTP_PROFILES
from pylibsrtp import Policy, Session

from media.dtls import PROFILE_NAMES as SRTP_NAMES
from media.dtls import DatagramPipe, DtlsTransport, NodeCertificate, SrtpKeys

if TYPE_CHECKING:
    from stream import Burst

CONSENT_INTERVAL_S = 5.0  # RFC 7675 5.1
RECEIVE_BUFFER_BYTES = 4 << 20
MAX_DATAGRAM_BYTES = 2048
PROFILES = {SRTP_NAMES[item.openssl_profile]: item.libsrtp_profile for item in SRTP_PROFILES}


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def connectivity_check(ufrag: str, pwd: str, own_ufrag: str) -> bytes:
    """A binding request of the controlling end that nominates (RFC 8445 7.2.2): USERNAME, PRIORITY, USE-CANDIDATE,
    ICE-CONTROLLING, MESSAGE-INTEGRITY, FINGERPRINT."""
    body = attribute(0x0006, f"{ufrag}:{own_ufrag}".encode()) + attribute(0x0024, struct.pack("!I", 1))
    body += attribute(0x0025, b"") + attribute(0x802A, bytes(8))
    transaction = os.urandom(12)

    def header(length: int) -> bytes:
        return struct.pack("!HHI", 0x0001, length, 0x2112A442) + transaction

    digest = hmac.new(pwd.encode(), header(len(body) + 24) + body, hashlib.sha1).digest()
    body += attribute(0x0008, digest)
    crc = (zlib.crc32(header(len(body) + 8) + body) ^ 0x5354554E) & 0xFFFFFFFF
    body += attribute(0x8028, struct.pack("!I", crc))
    return header(len(body)) + body


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

    def reset(self) -> None:
        self.video = self.audio = 0


def receive_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


def answer_value(answer: str, name: str) -> str:
    return answer.split(f"a={name}:")[1].split("\r\n")[0]


async def join(
    http: httpx.AsyncClient, url: str, token: str, offer: str, certificate: NodeCertificate, name: str
) -> LightPeer:
    """POSTs `offer` (whose `{ufrag}`, `{pwd}` and `{fingerprint}` are filled in), checks, shakes hands.

    RuntimeError when any of it fails.
    """
    ufrag, pwd = os.urandom(4).hex(), os.urandom(12).hex()
    algorithm, digest = certificate.fingerprint()
    text = offer.replace("{ufrag}", ufrag).replace("{pwd}", pwd).replace("{fingerprint}", f"{algorithm} {digest}")
    headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"}
    response = await http.post(url, content=text, headers=headers)
    if response.status_code != 201:
        raise RuntimeError(f"{response.status_code} {response.text}")
    answer = response.text
    candidate = answer_value(answer, "candidate").split()
    loop = asyncio.get_running_loop()
    sock = receive_socket()
    sock.connect((candidate[4], int(candidate[5])))
    check = connectivity_check(answer_value(answer, "ice-ufrag"), answer_value(answer, "ice-pwd"), ufrag)
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
            elif datagram[:2] == b"\x01\x01" and not checked.done():
                checked.set_result(None)

    found: list[SrtpKeys] = []
    dtls = DtlsTransport(pipe, certificate, found.append)
    loop.add_reader(sock, readable)
    try:
        sock.send(check)
        await asyncio.wait_for(checked, 5)
        remote = tuple(answer_value(answer, "fingerprint").split(maxsplit=1))
        if not await asyncio.wait_for(dtls.handshake((remote,), as_server=False), 5):  # type: ignore[arg-type]
            raise RuntimeError("the handshake failed")
        await asyncio.sleep(0)
    finally:
        loop.remove_reader(sock)
    # The client's association stays open without its reader: closing it would end the session.
    if dtls._task is not None:
        dtls._task.cancel()
    (keys,) = found
    return LightPeer(name, sock, keys, check, srtp(keys, outbound=True), response.headers["Location"])


def srtp(keys: SrtpKeys, *, outbound: bool) -> Session:
    key = keys.tx_key + keys.tx_salt if outbound else keys.rx_key + keys.rx_salt
    kind = Policy.SSRC_ANY_OUTBOUND if outbound else Policy.SSRC_ANY_INBOUND
    return Session(Policy(key=key, ssrc_type=kind, srtp_profile=PROFILES[keys.profile]))


class Room:
    """One publisher (or none) and its viewers, run by one loop in one thread: send when due, else receive."""

    def __init__(self, publisher: LightPeer | None, viewers: list[LightPeer]) -> None:
        self._publisher = publisher
        self._viewers = viewers
        self._by_fd = {viewer.sock.fileno(): viewer for viewer in viewers}
        self._epoll = select.epoll()
        for fd in self._by_fd:
            self._epoll.register(fd, select.EPOLLIN)
        self._consent_at_s = 0.0
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
                self._consent()
                self._consent_at_s = now_s + CONSENT_INTERVAL_S
            while self._publisher is not None and began_s + burst.due_s <= now_s:
                for packet in burst.packets:
                    self._publisher.sock.send(self._publisher.protect.protect(packet))
                self.published += len(burst.packets)
                burst = next(stream)
            due_s = began_s + burst.due_s if self._publisher is not None else ends_s
            self.receive(max(0.0, min(due_s, ends_s) - time.monotonic()))

    def count(self, seconds: float) -> None:
        """Only receives, for `seconds` of wall time."""
        ends_s = time.monotonic() + seconds
        while (left_s := ends_s - time.monotonic()) > 0:
            self.receive(left_s)

    def receive(self, timeout_s: float) -> None:
        for fd, _ in self._epoll.poll(timeout_s):
            viewer = self._by_fd[fd]
            recv = viewer.sock.recv
            while True:
                try:
                    datagram = recv(MAX_DATAGRAM_BYTES)
                except BlockingIOError:
                    break
                # RFC 5761 4: second bytes 192..223 are RTCP. Video packets are ten times as long as audio ones.
                if datagram[0] & 0xC0 == 0x80 and not 192 <= datagram[1] <= 223:
                    if len(datagram) > 600:
                        viewer.video += 1
                    else:
                        viewer.audio += 1
                    if len(viewer.sample) < 40:
                        viewer.sample.append(datagram)

    def _consent(self) -> None:
        for peer in [*self._viewers, *([self._publisher] if self._publisher else [])]:
            peer.sock.send(peer.check)

    def close(self) -> None:
        self._epoll.close()
        for peer in [*self._viewers, *([self._publisher] if self._publisher else [])]:
            peer.sock.close()
