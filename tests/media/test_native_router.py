"""The built packet router over loopback: checks, keys, forwarding, the key-frame tap, retransmission."""

from __future__ import annotations

import ast
import hashlib
import hmac
import inspect
import os
import select
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pylibsrtp
import pytest

from media import _router

VP8_PT, VP8_RTX_PT, OPUS_PT = 96, 97, 111
MID_ID = 1
KEY_FRAME = b"\x90\x80\x81\x23" + b"\x00" * 200
DELTA_FRAME = b"\x90\x80\x81\x24" + b"\x01" * 200


def stun_request(username: str, password: str, *, nominate: bool = True) -> bytes:
    """A Binding request as an ICE agent sends it (RFC 8445 7.2.2)."""

    def attribute(kind: int, value: bytes) -> bytes:
        return struct.pack("!HH", kind, len(value)) + value + b"\0" * (-len(value) % 4)

    body = (
        attribute(0x0006, username.encode()) + attribute(0x0024, b"\x6e\x00\x01\xff") + attribute(0x802A, os.urandom(8))
    )
    if nominate:
        body += attribute(0x0025, b"")
    header = struct.pack("!HHI", 0x0001, len(body) + 24, 0x2112A442) + os.urandom(12)
    body += attribute(0x0008, hmac.new(password.encode(), header + body, hashlib.sha1).digest())
    header = header[:2] + struct.pack("!H", len(body) + 8) + header[4:]
    return header + body + attribute(0x8028, struct.pack("!I", zlib.crc32(header + body) ^ 0x5354554E))


class Peer:
    """A WebRTC endpoint with fixed SRTP keys in place of a DTLS handshake."""

    def __init__(self, router: _router.Router, transport_id: int, profile: _router.SrtpProfile) -> None:
        self.router, self.transport_id = router, transport_id
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(router.local_addresses()[0])
        self.socket.settimeout(2)
        key_bytes, salt_bytes, srtp_profile = {
            "AEAD_AES_128_GCM": (16, 12, pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM),
            "AEAD_AES_256_GCM": (32, 12, pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM),
            "AES128_CM_HMAC_SHA1_80": (16, 14, pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80),
        }[profile]
        theirs, ours = os.urandom(key_bytes + salt_bytes), os.urandom(key_bytes + salt_bytes)
        self.tx = pylibsrtp.Session(
            pylibsrtp.Policy(key=theirs, ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND, srtp_profile=srtp_profile)
        )
        self.rx = pylibsrtp.Session(
            pylibsrtp.Policy(key=ours, ssrc_type=pylibsrtp.Policy.SSRC_ANY_INBOUND, srtp_profile=srtp_profile)
        )
        self.ufrag, self.password = f"u{transport_id}", "p" * 24
        router.add_transport(transport_id, self.ufrag, self.password, "peer")
        router.set_srtp_keys(
            transport_id, profile, theirs[:key_bytes], theirs[key_bytes:], ours[:key_bytes], ours[key_bytes:]
        )

    def check(self) -> bytes:
        self.socket.send(stun_request(f"{self.ufrag}:peer", self.password))
        return self.socket.recv(2000)

    def send_rtp(
        self, ssrc: int, payload_type: int, seq: int, rtp_ts: int, payload: bytes, *, marker: bool = True
    ) -> None:
        head = struct.pack("!BBHII", 0x80, payload_type | (0x80 if marker else 0), seq & 0xFFFF, rtp_ts, ssrc)
        self.socket.send(self.tx.protect(head + payload))

    def send_rtcp(self, compound: bytes) -> None:
        self.socket.send(self.tx.protect_rtcp(compound))

    def receive(self, want: Callable[[bytes], bool], within_s: float = 3.0) -> bytes:
        """The first decrypted packet that `want` accepts."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            datagram = self.socket.recv(2000)
            if datagram[0] < 128:
                continue
            plain = self.rx.unprotect_rtcp(datagram) if 192 <= datagram[1] <= 223 else self.rx.unprotect(datagram)
            if want(plain):
                return plain
        raise AssertionError("nothing of that kind came")


def is_rtp(plain: bytes) -> bool:
    return not 192 <= plain[1] <= 223


def is_pli(plain: bytes) -> bool:
    return plain[1] == 206 and plain[0] & 0x1F == 1


def payload_of(plain: bytes) -> bytes:
    at = 12
    if plain[0] & 0x10:
        at += 4 + 4 * struct.unpack_from("!H", plain, 14)[0]
    return plain[at : len(plain) - (plain[-1] if plain[0] & 0x20 else 0)]


def events_until(router: _router.Router, name: str, within_s: float = 3.0) -> tuple[Any, ...]:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        select.select([router.event_fd()], [], [], 0.2)
        for event in router.drain_events():
            if event[0] == name:
                return event
    raise AssertionError(f"no {name} event")


INGEST: _router.IngestParameters = {
    "kind": "video",
    "mid": "0",
    "ssrc": 0x1111,
    "codecs": [{"codec": "vp8", "payload_type": VP8_PT, "clock_rate_hz": 90000, "rtx_payload_type": VP8_RTX_PT}],
    "extensions": {"mid": MID_ID},
    "nack": True,
    "pli": True,
    "transport_cc": False,
}
SLOT: _router.SlotParameters = {
    "kind": "video",
    "mid": "cam",
    "ssrc": 0x2222,
    "rtx_ssrc": 0x3333,
    "codecs": [{"codec": "vp8", "payload_type": 100, "clock_rate_hz": 90000, "rtx_payload_type": 101}],
    "extensions": {"mid": 4},
    "nack": True,
}


@pytest.fixture
def router() -> Iterator[_router.Router]:
    router = _router.Router([("127.0.0.1", 0)])
    yield router
    router.close()


@pytest.mark.parametrize("profile", ["AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "AES128_CM_HMAC_SHA1_80"])
def test_a_key_frame_is_forwarded_tapped_and_sent_again(router: _router.Router, profile: _router.SrtpProfile) -> None:
    publisher, viewer = Peer(router, 1, profile), Peer(router, 2, profile)
    router.add_ingest(10, 1, INGEST)
    router.add_slot(20, 2, SLOT)
    router.route(20, [10])
    assert publisher.check()[:2] == b"\x01\x01"
    assert viewer.check()[:2] == b"\x01\x01"
    assert events_until(router, "ice")[1] in (1, 2)

    # A delta frame starts the ingest but shows nothing; the router asks for a key frame.
    publisher.send_rtp(0x1111, VP8_PT, 65535, 1000, DELTA_FRAME)
    assert struct.unpack_from("!I", publisher.receive(is_pli), 8)[0] == 0x1111
    router.tap(10, 77, 1500)
    publisher.receive(is_pli)
    publisher.send_rtp(0x1111, VP8_PT, 65536, 4000, KEY_FRAME, marker=False)
    publisher.send_rtp(0x1111, VP8_PT, 65537, 4000, b"\x80\x80\x81\x23rest")

    first = viewer.receive(is_rtp)
    second = viewer.receive(is_rtp)
    assert first[1] == 100 and second[1] == 100 | 0x80
    assert struct.unpack_from("!I", first, 8)[0] == 0x2222
    assert first[12:20] == b"\xbe\xde\x00\x01\x42cam"
    first_seq, second_seq = (struct.unpack_from("!H", plain, 2)[0] for plain in (first, second))
    assert second_seq == (first_seq + 1) & 0xFFFF
    assert payload_of(second).endswith(b"rest")

    tapped = events_until(router, "keyframe")
    assert tapped[1:6] == (77, 10, "vp8", 0x1111, 4000)
    assert abs(tapped[6] / 1e6 - time.time()) < 5
    assert tapped[7] == [KEY_FRAME, b"\x80\x80\x81\x23rest"]

    # RFC 4588: the first packet again, on the retransmission stream, its own number in front.
    viewer.send_rtcp(struct.pack("!BBHIIHH", 0x81, 205, 3, 1, 0x2222, first_seq, 0))
    again = viewer.receive(lambda plain: is_rtp(plain) and plain[1] & 0x7F == 101)
    assert payload_of(again) == struct.pack("!H", first_seq) + payload_of(first)

    snapshot = router.snapshot()
    assert [flow["state"] for flow in snapshot["transports"]] == ["connected", "connected"]
    assert snapshot["ingests"][0]["packets"] == 3
    assert snapshot["slots"][0] | {"rtt_ms": None} == {
        "slot_id": 20,
        "transport_id": 2,
        "ingest_id": 10,
        "wanted_ingest_id": 10,
        "packets": 2,
        "payload_bytes": len(KEY_FRAME) + 8,
        "retransmitted": 1,
        "nacks_received": 1,
        "plis_received": 0,
        "fraction_lost": 0.0,
        "rtt_ms": None,
        "layer": 0,
        "wanted_layer": 0,
        "target_bps": 0,
        "reason": "best",
    }


def eventually(router: _router.Router, holds: Callable[[_router.Snapshot], bool], within_s: float = 10.0) -> None:
    until = time.monotonic() + within_s
    while not holds(router.snapshot()):
        assert time.monotonic() < until, router.snapshot()
        time.sleep(0.02)


def test_viewers_in_every_thread_get_the_stream_and_its_repair() -> None:
    """A thread takes a hundred transports before the next is opened; whose datagram the kernel gives to which thread
    is chance, so every peer's way in is part of this test."""
    threads, per_thread = 3, 100
    router = _router.Router([("127.0.0.1", 0)], threads=threads)
    publisher = Peer(router, 1, "AEAD_AES_128_GCM")
    router.add_ingest(10, 1, INGEST)
    viewers: list[Peer] = []
    for thread in range(threads):
        for _ in range(3):
            viewer = Peer(router, 100 + len(viewers), "AEAD_AES_128_GCM")
            router.add_slot(200 + len(viewers), viewer.transport_id, SLOT)
            router.route(200 + len(viewers), [10])
            viewers.append(viewer)
        for place in range(per_thread - 3 - (thread == 0)):
            transport_id = 1000 * (thread + 1) + place
            router.add_transport(transport_id, f"idle{transport_id}", "p" * 24)
    for peer in [publisher, *viewers]:
        assert peer.check()[:2] == b"\x01\x01"

    publisher.send_rtp(0x1111, VP8_PT, 1, 1000, DELTA_FRAME)
    publisher.receive(is_pli)
    publisher.send_rtp(0x1111, VP8_PT, 2, 4000, KEY_FRAME)
    firsts = [viewer.receive(is_rtp) for viewer in viewers]
    # The picture id in the descriptor (RFC 7741 4.2) is each slot's own.
    assert all(payload_of(first)[4:] == KEY_FRAME[4:] for first in firsts)

    for viewer, first in zip(viewers, firsts, strict=True):
        (seq,) = struct.unpack_from("!H", first, 2)
        viewer.send_rtcp(struct.pack("!BBHIIHH", 0x81, 205, 3, 1, 0x2222, seq, 0))
        again = viewer.receive(lambda plain: is_rtp(plain) and plain[1] & 0x7F == 101)
        assert payload_of(again) == struct.pack("!H", seq) + payload_of(first)

    # A viewer of the last thread loses the picture: its publisher hears of it.
    viewers[-1].send_rtcp(struct.pack("!BBHII", 0x81, 206, 2, 1, 0x2222))
    assert struct.unpack_from("!I", publisher.receive(is_pli), 8)[0] == 0x1111

    snapshot = router.snapshot()
    assert [flow["packets"] for flow in snapshot["ingests"]] == [2]
    assert len(snapshot["transports"]) == threads * per_thread
    assert {flow["ingest_id"] for flow in snapshot["slots"]} == {10}
    assert [event[0] for event in router.drain_events(10_000)].count("ingest_started") == 1

    # The publisher leaves: nothing is shown any more, in no thread.
    router.remove_transport(1)
    eventually(router, lambda now: not now["ingests"] and {flow["ingest_id"] for flow in now["slots"]} == {None})

    # Another one comes to the same slots.
    second = Peer(router, 2, "AEAD_AES_128_GCM")
    router.add_ingest(11, 2, INGEST)
    for place in range(len(viewers)):
        router.route(200 + place, [11])
    second.check()
    second.send_rtp(0x1111, VP8_PT, 1, 1000, DELTA_FRAME)
    second.receive(is_pli)
    second.send_rtp(0x1111, VP8_PT, 2, 4000, KEY_FRAME)
    for viewer in viewers:
        shown = viewer.receive(lambda plain: is_rtp(plain) and plain[1] & 0x7F == 100)
        assert payload_of(shown)[4:] == KEY_FRAME[4:]
    counters = router.counters()
    assert counters["parcels_dropped"] == counters["strangers"] == 0
    router.close()
    with pytest.raises(RuntimeError, match="closed"):
        router.snapshot()


def test_a_port_in_use_is_refused_with_any_number_of_threads() -> None:
    first = _router.Router([("127.0.0.1", 0)], threads=2)
    for threads in (1, 2):
        with pytest.raises(OSError):
            _router.Router([first.local_addresses()[0]], threads=threads)
    first.close()
    with pytest.raises(ValueError, match="threads"):
        _router.Router([("127.0.0.1", 0)], threads=0)


def test_a_tap_without_a_key_frame_fails_at_its_deadline(router: _router.Router) -> None:
    router.tap(99, 1, 100)
    assert events_until(router, "tap_failed") == ("tap_failed", 1, "no_ingest")
    publisher = Peer(router, 1, "AEAD_AES_128_GCM")
    router.add_ingest(10, 1, INGEST)
    publisher.check()
    router.tap(10, 2, 100)
    publisher.send_rtp(0x1111, VP8_PT, 1, 1000, DELTA_FRAME)
    assert events_until(router, "tap_failed") == ("tap_failed", 2, "deadline")


def test_bad_datagrams_are_counted_and_nothing_else(router: _router.Router) -> None:
    """Truncated, forged, replayed, oversized, from strangers: dropped, counted, never an exception."""
    publisher = Peer(router, 1, "AEAD_AES_128_GCM")
    router.add_ingest(10, 1, INGEST)
    publisher.check()
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.connect(router.local_addresses()[0])
    stranger.send(b"\x80\x60" + b"\0" * 40)
    stranger.send(stun_request("nobody:peer", "x"))
    stranger.send(stun_request(f"{publisher.ufrag}:peer", "wrong password"))
    stranger.send(stun_request(f"{publisher.ufrag}:someone", publisher.password))

    head = struct.pack("!BBHII", 0x80, 0x80 | VP8_PT, 7, 1000, 0x1111)
    good = publisher.tx.protect(head + KEY_FRAME)
    publisher.socket.send(good)
    publisher.socket.send(good)
    publisher.socket.send(good[:-1] + bytes([good[-1] ^ 1]))
    forged = publisher.tx.protect(struct.pack("!BBHII", 0x80, 0x80 | VP8_PT, 8, 1000, 0x1111) + KEY_FRAME)
    publisher.socket.send(forged[:20] + bytes([forged[20] ^ 0x80]) + forged[21:])
    publisher.socket.send(good[:11])
    publisher.socket.send(b"\x80\x60" + b"\0" * 1600)
    publisher.socket.send(b"\xff" * 20)
    publisher.send_rtp(0x1111, 55, 9, 1000, b"no such payload type")
    publisher.send_rtp(0x9999, 55, 9, 1000, b"no such source")
    publisher.check()

    counters = router.counters()
    assert {name: counters[name] for name in counters if counters[name]} | {"rx_bytes": 0, "tx_bytes": 0} == {
        "rx_datagrams": 15,
        "rx_bytes": 0,
        "rx_batches": counters["rx_batches"],
        "tx_datagrams": 2,
        "tx_bytes": 0,
        "tx_messages": 2,
        "stun_requests": 2,
        "stun_unknown_ufrag": 1,
        "stun_rejected": 2,
        "strangers": 1,
        "rtp_in": 3,
        "bad_replayed": 2,
        "bad_integrity": 1,
        "bad_truncated": 1,
        "bad_unknown": 1,
        "oversized": 1,
        "unknown_payload_type": 1,
        "unknown_ssrc": 1,
    }
    assert router.snapshot()["ingests"][0]["packets"] == 1


def test_wrong_arguments_are_value_errors(router: _router.Router) -> None:
    with pytest.raises(ValueError, match="size for the profile"):
        router.set_srtp_keys(1, "AEAD_AES_128_GCM", b"short", b"", b"", b"")
    with pytest.raises(ValueError, match="unknown"):
        router.add_ingest(1, 1, INGEST | {"codecs": [{"codec": "theora", "payload_type": 1, "clock_rate_hz": 1}]})  # type: ignore[typeddict-item, list-item]
    with pytest.raises(ValueError, match="not 1 to 14"):
        router.add_slot(1, 1, SLOT | {"extensions": {"mid": 15}})
    with pytest.raises(OSError):
        _router.Router([("192.0.2.1", 0)])
    router.close()
    with pytest.raises(RuntimeError, match="closed"):
        router.route(1, [])


def test_the_stub_names_what_the_extension_has() -> None:
    """`media/_router.pyi` is what Python believes: same methods, same parameters (stubtest does the same, slower)."""
    stub = ast.parse((Path(_router.__file__).parent / "_router.pyi").read_text(encoding="utf-8"))
    router_stub = next(node for node in stub.body if isinstance(node, ast.ClassDef) and node.name == "Router")
    promised = {
        node.name: [a.arg for a in node.args.args[1:] + node.args.kwonlyargs]
        for node in router_stub.body
        if isinstance(node, ast.FunctionDef)
    }
    built = {name: member for name, member in vars(_router.Router).items() if not name.startswith("__")}
    assert set(promised) - {"__new__"} == set(built)
    for name, parameters in promised.items():
        signature = inspect.signature(_router.Router if name == "__new__" else built[name])
        assert [p for p in signature.parameters if p != "self"] == parameters, name


def test_both_families_and_a_port_of_ones_own_choice() -> None:
    """One socket per address: IPv4 and IPv6 on the same port, each answering its own peers."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 in this kernel")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 loopback")
        port = probe.getsockname()[1]
    router = _router.Router([("127.0.0.1", port), ("::1", port)])
    try:
        assert router.local_addresses() == [("127.0.0.1", port), ("::1", port)]
        router.add_transport(1, "both", "p" * 24)
        for family, host, tail in [(socket.AF_INET, "127.0.0.1", 8), (socket.AF_INET6, "::1", 20)]:
            with socket.socket(family, socket.SOCK_DGRAM) as peer:
                peer.settimeout(2)
                peer.connect((host, port))
                peer.send(stun_request("both:peer", "p" * 24))
                answer = peer.recv(2000)
                # XOR-MAPPED-ADDRESS of the family that asked (RFC 8489 14.2).
                assert answer[:2] == b"\x01\x01" and struct.unpack_from("!HHxB", answer, 20) == (
                    0x0020,
                    tail,
                    1 if family == socket.AF_INET else 2,
                )
    finally:
        router.close()


def test_two_routers_find_each_other_by_their_links() -> None:
    routers = [_router.Router([("127.0.0.1", 0)]) for _ in range(2)]
    keys = [os.urandom(16), os.urandom(16)]
    with pytest.raises(ValueError, match="reaches"):
        routers[0].add_link(1, "a", "p" * 24, "b", "q" * 24, [("::1", 5000)])
    for at, router in enumerate(routers):
        ours, theirs = ("a", "b") if at == 0 else ("b", "a")
        router.add_link(1, ours, ours * 24, theirs, theirs * 24, routers[1 - at].local_addresses())
        router.set_srtp_keys(1, "AEAD_AES_128_GCM", keys[1 - at], b"s" * 12, keys[at], b"s" * 12)
    for at, router in enumerate(routers):
        assert select.select([router.event_fd()], [], [], 10)[0], "no check came"
        assert router.drain_events()[0] == ("ice", 1, *routers[1 - at].local_addresses()[0])
        assert router.snapshot()["transports"][0]["state"] == "connected"
    for router in routers:
        router.close()
