"""Junk at the UDP port: counted, dropped, and nobody in the lesson notices."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import socket
import struct
import zlib
from pathlib import Path
from typing import Any

from media.tokens import SlotClaim

MAGIC_COOKIE = 0x2112A442  # RFC 8489 5


def stun_check(ufrag: str, pwd: str, *, theirs: str = "0bf2bf69", broken: bool = False) -> bytes:
    """A connectivity check (RFC 8445 7.2) with MESSAGE-INTEGRITY and FINGERPRINT, optionally with a wrong HMAC."""
    username = f"{ufrag}:{theirs}".encode()
    padded = username + bytes(-len(username) % 4)
    body = struct.pack("!HH", 0x0006, len(username)) + padded + struct.pack("!HHI", 0x0024, 4, 1)
    body += struct.pack("!HHQ", 0x802A, 8, 1)
    transaction = os.urandom(12)

    def header(length: int) -> bytes:
        return struct.pack("!HHI", 0x0001, length, MAGIC_COOKIE) + transaction

    digest = hmac.new(pwd.encode(), header(len(body) + 24) + body, hashlib.sha1).digest()
    if broken:
        digest = bytes(20)
    body += struct.pack("!HH", 0x0008, 20) + digest
    crc = (zlib.crc32(header(len(body) + 8) + body) ^ 0x5354554E) & 0xFFFFFFFF
    body += struct.pack("!HHI", 0x8028, 4, crc)
    return header(len(body)) + body


async def counters(control: Any) -> dict[str, int]:
    (snapshot,) = (await control.snapshot()).values()
    return dict(snapshot["router"]["counters"])


async def test_junk_is_counted_and_the_lesson_goes_on(
    media_node: Any, control: Any, name: str, aiortc_publish: Any, aiortc_play: Any, eventually: Any
) -> None:
    await aiortc_publish(media_node, name)
    viewer = await aiortc_play(media_node, name + ".view", [SlotClaim("camera", "video", name)], ("video",))
    await viewer.tracks[0].recv()
    before = await counters(control)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(("127.0.0.1", media_node.udp_port))
    junk = [b"", b"\x00", b"\xff" * 1500, bytes(65_000), b"\x80" * 12, b"\x16" * 100, b"\x00\x01" + bytes(18)]
    junk += [os.urandom(size) for size in range(1, 200)]
    junk += [bytes([first]) + os.urandom(60) for first in range(256)]
    for datagram in junk:
        sender.send(datagram)

    async def counted() -> bool:
        after = await counters(control)
        grown = sum(
            value - before.get(key, 0)
            for key, value in after.items()
            if re.search("drop|bad|stranger|unknown|invalid|junk", key)
        )
        return grown >= len(junk) * 0.9

    await eventually(counted, 5)
    for _ in range(10):
        await viewer.tracks[0].recv()
    sender.close()


async def test_forged_checks_get_no_answer(media_node: Any, control: Any, name: str, http: Any) -> None:
    data = (Path(__file__).parent / "offers" / "pyav_18_whip_publish.sdp").read_bytes()
    headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {media_node.token('publish', name)}"}
    answer = (await http.post(f"{media_node.url}/whip/{name}", content=data, headers=headers)).text
    ufrag = answer.split("a=ice-ufrag:")[1].split("\r\n")[0]
    pwd = answer.split("a=ice-pwd:")[1].split("\r\n")[0]
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.settimeout(0.4)
    peer.connect(("127.0.0.1", media_node.udp_port))

    def answered(datagram: bytes) -> bool:
        peer.send(datagram)
        try:
            reply = peer.recv(2048)
        except TimeoutError:
            return False
        # RFC 8489 6.3.1: a success response to our transaction. An error response (401) gives nothing away either.
        return reply[:2] == b"\x01\x01" and reply[8:20] == datagram[8:20]

    assert not answered(stun_check("nobody00", pwd))
    assert not answered(stun_check(ufrag, pwd, broken=True))
    assert not answered(stun_check(ufrag, "x" * 24))
    assert not answered(stun_check(ufrag, pwd, theirs="mallory0"))
    good = stun_check(ufrag, pwd)
    for length in range(len(good)):
        peer.send(good[:length])
    assert answered(stun_check(ufrag, pwd)), "the real one is answered after all that"
    peer.close()
