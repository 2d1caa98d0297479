"""Measures a path between two hosts of a network: what arrives, when, and how much. For the harness's own tests and for
anybody who wants to be sure of a line before blaming the code behind it.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from dataclasses import dataclass

from tests.netlab.network import Host


@dataclass(frozen=True)
class Measured:
    """What came of `sent` packets: how many, one-way delays in order of arrival, the rate of arrival (payload)."""

    sent: int
    received: int
    delays_ms: list[float]
    rate_bps: float
    in_order: bool

    @property
    def loss(self) -> float:
        return 1 - self.received / self.sent


def measure(
    source: Host, target: Host, *, packets: int, size: int = 200, rate_bps: float, v6: bool = False
) -> Measured:
    """Sends `packets` datagrams of `size` bytes (UDP payload) at `rate_bps` from one host to the other."""
    family = socket.AF_INET6 if v6 else socket.AF_INET
    address = target.ip6 if v6 else target.ip
    receiver = target.call(_bound_socket, family, address)
    sender = source.call(socket.socket, family, socket.SOCK_DGRAM)
    arrivals: list[tuple[int, float, float]] = []
    done = threading.Event()

    def receive() -> None:
        while not done.is_set():
            try:
                data = receiver.recv(65_535)
            except TimeoutError:
                continue
            number, sent_s = struct.unpack_from("!Id", data)
            arrivals.append((number, sent_s, time.monotonic()))

    thread = threading.Thread(target=receive)
    thread.start()
    try:
        interval_s, started_s = size * 8 / rate_bps, time.monotonic()
        for number in range(packets):
            wait_s = started_s + number * interval_s - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            try:
                sender.sendto(
                    struct.pack("!Id", number, time.monotonic()).ljust(size, b"\0"),
                    (address, receiver.getsockname()[1]),
                )
            except OSError:
                # No route while the link is down: sent as far as the application goes, and lost.
                continue
        # The path is empty when nothing has come for a while.
        seen, quiet_since_s = -1, time.monotonic()
        while time.monotonic() - quiet_since_s < 0.8:
            if len(arrivals) != seen:
                seen, quiet_since_s = len(arrivals), time.monotonic()
            time.sleep(0.05)
    finally:
        done.set()
        thread.join()
        receiver.close()
        sender.close()
    span_s = arrivals[-1][2] - arrivals[0][2] if len(arrivals) > 1 else 0.0
    numbers = [number for number, _, _ in arrivals]
    return Measured(
        sent=packets,
        received=len(set(numbers)),
        delays_ms=[(arrived_s - sent_s) * 1000 for _, sent_s, arrived_s in arrivals],
        rate_bps=(len(arrivals) - 1) * size * 8 / span_s if span_s else 0.0,
        in_order=numbers == sorted(numbers),
    )


def reaches(source: Host, target: Host, *, v6: bool = False) -> bool:
    """True when one of the datagrams sent for half a second arrives."""
    family = socket.AF_INET6 if v6 else socket.AF_INET
    address = target.ip6 if v6 else target.ip
    with target.call(_bound_socket, family, address) as receiver, source.call(socket.socket, family, 2) as sender:
        for _ in range(10):
            try:
                sender.sendto(b"?", receiver.getsockname())
                return receiver.recv(16) == b"?"
            except (OSError, TimeoutError):
                # No way out of the host, or nothing within the receiver's timeout: asked again.
                time.sleep(0.01)
    return False


def connects(source: Host, target: Host, port: int, timeout_s: float = 1.0) -> bool:
    """True when a TCP connection to a port (opened here for it) of the target is made within `timeout_s`."""
    listener = target.call(socket.create_server, (target.ip, port))
    try:
        source.call(socket.create_connection, (target.ip, port), timeout_s).close()
    except TimeoutError:
        return False
    finally:
        listener.close()
    return True


def _bound_socket(family: socket.AddressFamily, address: str) -> socket.socket:
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
    receiver.bind((address, 0))
    receiver.settimeout(0.05)
    return receiver
