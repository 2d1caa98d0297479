"""A wire with delay: two TUN devices in two namespaces and the packets held back between them, for want of netem.

`wire.py HOST_NAMESPACE ROUTER_NAMESPACE ROUTER_DEVICE` makes `eth0` in the host's namespace and ROUTER_DEVICE in the
router's, prints `ready`, and then obeys lines of JSON on stdin: {"down": [delay_ms, jitter_ms, reorder], "up": […]},
each answered by `set`. It ends when stdin does, so it never outlives the test. Standard library only.
About 50 µs of CPU per packet, the kernel's part included: a tenth of a core at 20 Mbit/s.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
MTU_BYTES = 65_535
# Packets read from one device before the other gets its turn.
BATCH = 64


class Direction:
    """Packets on their way from one device to the other, in a heap by the time they are due."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.delay_s = self.jitter_s = 0.0
        self.reorder = False
        self._due: list[tuple[float, int, bytes]] = []
        self._number = 0
        self._last_due_s = 0.0

    def take(self, now_s: float) -> None:
        """Reads what the source has."""
        for _ in range(BATCH):
            try:
                packet = os.read(self.source, MTU_BYTES)
            except BlockingIOError:
                return
            due_s = now_s + self.delay_s
            if self.jitter_s:
                due_s += random.uniform(-self.jitter_s, self.jitter_s)
            if not self.reorder:
                due_s = self._last_due_s = max(due_s, self._last_due_s)
            self._number += 1
            heapq.heappush(self._due, (due_s, self._number, packet))

    def give(self, now_s: float) -> None:
        """Writes what is due."""
        while self._due and self._due[0][0] <= now_s:
            packet = heapq.heappop(self._due)[2]
            try:
                os.write(self.target, packet)
            except OSError as error:
                # EIO: the device is down, as a cable that is cut. EINVAL: not IP. The packet is lost either way.
                if error.errno not in (errno.EIO, errno.EINVAL, errno.ENOBUFS, errno.EAGAIN):
                    raise

    @property
    def next_s(self) -> float | None:
        return self._due[0][0] if self._due else None


def open_device(namespace: str, name: str) -> int:
    """A TUN device in a namespace, as a non-blocking descriptor; this thread stays in that namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", "rb") as handle:
        if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def main(host_namespace: str, router_namespace: str, router_device: str) -> None:
    try:
        os.nice(-15)
    except PermissionError:
        sys.stderr.write("wire: not more important than the rest; delays may be late on a loaded machine\n")
    host, router = open_device(host_namespace, "eth0"), open_device(router_namespace, router_device)
    directions = {"down": Direction(router, host), "up": Direction(host, router)}
    by_source = {direction.source: direction for direction in directions.values()}
    poll = select.epoll()
    for descriptor in (*by_source, sys.stdin.fileno()):
        poll.register(descriptor, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        next_s = min((d.next_s for d in directions.values() if d.next_s is not None), default=None)
        timeout_s = -1.0 if next_s is None else max(0.0, next_s - time.monotonic())
        for descriptor, _ in poll.poll(timeout_s):
            direction = by_source.get(descriptor)
            if direction is not None:
                direction.take(time.monotonic())
                continue
            line = sys.stdin.readline()
            if not line:
                return
            for name, (delay_ms, jitter_ms, reorder) in json.loads(line).items():
                changed = directions[name]
                changed.delay_s, changed.jitter_s, changed.reorder = delay_ms / 1000, jitter_ms / 1000, reorder
            print("set", flush=True)
        now_s = time.monotonic()
        for direction in directions.values():
            direction.give(now_s)


if __name__ == "__main__":
    main(*sys.argv[1:])
