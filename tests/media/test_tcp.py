"""ICE over TCP: the same checks and the same media in RFC 4571 frames, and what strangers and slow readers get."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest
from pylibsrtp import Policy, Session

from media import _router
from tests.media.test_native_router import stun_request

PWD = "a password of twenty-two"
BINDING_SUCCESS = b"\x01\x01"
PATIENCE_S = 30
SHARD_TRANSPORTS = 100  # what one shard takes before the next one opens


class Connection:
    """A TCP client that speaks in frames."""

    def __init__(self, router: _router.Router, receive_bytes: int | None = None) -> None:
        ip, port = router.local_addresses()[0]
        self.socket = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM)
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect((ip, port))
        self.read = b""

    def send(self, *datagrams: bytes) -> None:
        self.socket.sendall(b"".join(struct.pack("!H", len(item)) + item for item in datagrams))

    def frame(self) -> bytes:
        """The next frame; EOFError when the router has closed the connection."""
        while len(self.read) < 2 or len(self.read) < 2 + int.from_bytes(self.read[:2], "big"):
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                raise EOFError
            self.read += more
        end = 2 + int.from_bytes(self.read[:2], "big")
        frame, self.read = self.read[2:end], self.read[end:]
        return frame

    def check(self, ufrag: str) -> None:
        self.send(stun_request(f"{ufrag}:peer", PWD))
        assert self.frame()[:2] == BINDING_SUCCESS

    def is_closed(self) -> bool:
        try:
            self.frame()
        except EOFError:
            return True
        return False


Start = Callable[..., _router.Router]


@pytest.fixture
def start() -> Iterator[Start]:
    routers: list[_router.Router] = []

    def open_router(host: str = "127.0.0.1", threads: int = 1) -> _router.Router:
        for _ in range(20):  # the UDP port that the kernel chose may be someone's on TCP
            try:
                routers.append(_router.Router([(host, 0)], tcp=True, threads=threads))
            except OSError:
                continue
            return routers[-1]
        raise AssertionError("no port is free on UDP and on TCP")

    yield open_router
    for router in routers:
        router.close()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def transport(router: _router.Router, transport_id: int) -> _router.TransportFlow:
    return next(flow for flow in router.snapshot()["transports"] if flow["transport_id"] == transport_id)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_check_over_tcp_opens_the_way_for_dtls_in_both_directions(start: Start, host: str) -> None:
    router = start(host)
    router.add_transport(1, "ufrag1", PWD)
    peer = Connection(router)
    request = stun_request("ufrag1:peer", PWD)
    framed = struct.pack("!H", len(request)) + request
    for at in range(0, len(framed), 7):  # frames cross segments
        peer.socket.sendall(framed[at : at + 7])
    assert peer.frame()[:2] == BINDING_SUCCESS
    flow = transport(router, 1)
    assert (flow["path"], flow["remote"]) == ("tcp", peer.socket.getsockname()[:2])
    peer.send(b"\x16\xfe\xffhello", b"\x16\xfe\xffagain")
    events: list[_router.Event] = []

    def arrived() -> bool:
        select.select([router.event_fd()], [], [], 1)
        events.extend(router.drain_events())
        return [item[2] for item in events if item[0] == "dtls"] == [b"\x16\xfe\xffhello", b"\x16\xfe\xffagain"]

    until(arrived, "two DTLS records")
    router.send_dtls(1, b"\x16\xfe\xffanswer")
    assert peer.frame() == b"\x16\xfe\xffanswer"


def test_media_goes_from_a_publisher_on_udp_to_a_viewer_on_tcp(start: Start) -> None:
    router = start()
    keys = {name: os.urandom(28) for name in ("up", "down")}
    publisher = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    publisher.settimeout(PATIENCE_S)
    publisher.connect(router.local_addresses()[0])
    viewer = Connection(router)
    for transport_id, key in ((1, keys["up"]), (2, keys["down"])):
        router.add_transport(transport_id, f"ufrag{transport_id}", PWD)
        router.set_srtp_keys(transport_id, "AEAD_AES_128_GCM", key[:16], key[16:], key[:16], key[16:])
    publisher.send(stun_request("ufrag1:peer", PWD))
    assert publisher.recv(2000)[:2] == BINDING_SUCCESS
    viewer.check("ufrag2")
    codec: _router.CodecParameters = {"codec": "opus", "payload_type": 111, "clock_rate_hz": 48_000}
    common = {"kind": "audio", "mid": "0", "codecs": [codec], "extensions": {}, "nack": False}
    router.add_ingest(5, 1, {**common, "ssrc": 7, "pli": False, "transport_cc": False})  # type: ignore[typeddict-item]
    router.add_slot(6, 2, {**common, "ssrc": 8})  # type: ignore[typeddict-item]
    router.route(6, [5])
    profile = Policy.SRTP_PROFILE_AEAD_AES_128_GCM
    outbound = Session(Policy(key=keys["up"], ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile))
    inbound = Session(Policy(key=keys["down"], ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=profile))
    sound = b"sound of a lecture"
    for seq in range(20):
        publisher.send(outbound.protect(struct.pack("!BBHII", 0x80, 111, seq, seq * 960, 7) + sound))
    heard = 0
    while heard < 20:
        frame = viewer.frame()
        if 192 <= frame[1] <= 223:
            continue  # a report
        assert inbound.unprotect(frame).endswith(sound)
        heard += 1


def test_strangers_are_shown_the_door(start: Start) -> None:
    router = start()
    router.add_transport(1, "ufrag1", PWD)
    too_long, talkative, silent, wrong = (Connection(router) for _ in range(4))
    too_long.socket.sendall(b"\xff\xff" + b"GET / HTTP/1.1\r\n")
    assert too_long.is_closed()
    talkative.send(*[b"\x16\xfe\xff not for strangers"] * 20)
    assert talkative.is_closed()
    wrong.send(stun_request("ufrag1:peer", "another password"))
    assert silent.is_closed() and wrong.is_closed(), "after five seconds"
    counters = router.counters()
    assert (counters["tcp_accepted"], counters["tcp_closed"]) == (4, 4)
    assert transport(router, 1)["remote"] is None


def test_one_address_holds_a_bounded_number_of_unproved_connections_and_any_of_proved(start: Start) -> None:
    router = start()
    router.add_transport(1, "ufrag1", PWD)
    proved = [Connection(router) for _ in range(3)]
    for connection in proved:
        connection.check("ufrag1")
    silent = [Connection(router) for _ in range(300)]
    until(lambda: router.counters()["tcp_refused"] == 300 - 256, "those above the limit are refused")
    assert silent[-1].is_closed()
    proved[0].check("ufrag1")
    for connection in silent:
        connection.socket.close()
    until(lambda: router.counters()["tcp_closed"] == 256, "the places are free again")
    Connection(router).check("ufrag1")


def test_a_connection_ends_with_its_transport_and_a_transport_outlives_its_connection(start: Start) -> None:
    router = start()
    router.add_transport(1, "ufrag1", PWD)
    first = Connection(router)
    first.check("ufrag1")
    first.socket.close()
    until(lambda: transport(router, 1)["remote"] is None, "the address is forgotten")
    second = Connection(router)
    second.check("ufrag1")
    assert transport(router, 1)["remote"] == second.socket.getsockname()
    router.remove_transport(1)
    assert second.is_closed()


def test_a_reader_that_stops_costs_a_bounded_queue_and_nobody_elses_time(start: Start) -> None:
    router = start()
    for transport_id in (1, 2):
        router.add_transport(transport_id, f"ufrag{transport_id}", PWD)
    stuck, well = Connection(router, receive_bytes=4096), Connection(router)
    stuck.check("ufrag1")
    well.check("ufrag2")
    for number in range(4000):
        router.send_dtls(1, b"\x16" + bytes(1199))
        if number % 400 == 0:
            router.send_dtls(2, b"\x16well")
    until(lambda: router.counters()["tcp_dropped"] > 1000, "what the stream does not take is given up")
    assert [well.frame() for _ in range(10)] == [b"\x16well"] * 10
    # What was queued comes out in order and whole once the reader reads again.
    got = [stuck.frame() for _ in range(50)]
    assert got == [b"\x16" + bytes(1199)] * 50


def test_a_connection_goes_to_the_shard_of_its_transport(start: Start) -> None:
    router = start(threads=2)
    count = SHARD_TRANSPORTS + 20
    for transport_id in range(1, count + 1):
        router.add_transport(transport_id, f"ufrag{transport_id:05}", PWD)
    connections = {transport_id: Connection(router) for transport_id in range(1, count + 1, 7)}
    for transport_id, connection in connections.items():
        connection.check(f"ufrag{transport_id:05}")
    # The kernel spreads connections over the listeners of both shards; each now answers for its own transport.
    assert router.counters()["handed_over"] > 0
    for transport_id, connection in connections.items():
        router.send_dtls(transport_id, b"\x16" + str(transport_id).encode())
        assert connection.frame() == b"\x16" + str(transport_id).encode()
        connection.check(f"ufrag{transport_id:05}")


def test_without_tcp_nothing_listens() -> None:
    router = _router.Router([("127.0.0.1", 0)])
    with pytest.raises(ConnectionRefusedError):
        Connection(router)
    router.close()
