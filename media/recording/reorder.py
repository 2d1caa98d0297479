"""One received RTP stream in order: what is missing is asked for again, then given up. Sans-IO; times are arguments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# Longer than two round trips of a bad path: a router answers a NACK from its history well within.
PATIENCE_US = 500_000
NACK_AGAIN_US = 60_000
MAX_NACKED = 64
# RFC 3550 A.1 MAX_DROPOUT: a larger jump is a new stream, not a loss.
MAX_DROPOUT = 3000


@dataclass(frozen=True, slots=True)
class Packet:
    """An RTP packet as far as a recording needs it. `ext_ts`: 64-bit RTP time, once it has been put in order."""

    payload_type: int
    marker: bool
    seq: int
    rtp_ts: int
    payload: bytes
    arrival_us: int
    ext_ts: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """So many packets that never came, at this place of the stream."""

    packets: int


class Unwrapped:
    """Extends a wrapping counter to 64 bits, the nearest way (RFC 3550 A.1)."""

    def __init__(self, bits: int) -> None:
        self._modulus = 1 << bits
        self._newest: int | None = None

    def extend(self, value: int) -> int:
        if self._newest is None:
            # One turn up, so that what comes slightly before the first is not below zero.
            self._newest = value + self._modulus
            return self._newest
        step = (value - self._newest) % self._modulus
        if step >= self._modulus // 2:
            return self._newest + step - self._modulus
        self._newest += step
        return self._newest


class Reorder:
    """`add` packets as they come, `take` what is due, ask for `missing`."""

    def __init__(self) -> None:
        self.packets = 0
        self.lost = 0
        self._seqs = Unwrapped(16)
        self._stamps = Unwrapped(32)
        self._waiting: dict[int, Packet] = {}
        self._next: int | None = None
        self._asked: dict[int, tuple[int, int]] = {}  # ext_seq → (first missed, last asked), µs

    def add(self, packet: Packet) -> None:
        ext_seq = self._seqs.extend(packet.seq)
        if self._next is not None and abs(ext_seq - self._next) > MAX_DROPOUT:
            self._waiting.clear()
            self._asked.clear()
            self._next = None
        if self._next is None:
            self._next = ext_seq
        if ext_seq < self._next or ext_seq in self._waiting:
            return
        self.packets += 1
        self._waiting[ext_seq] = packet
        self._asked.pop(ext_seq, None)
        for hole in range(self._next, ext_seq):
            if hole not in self._waiting and hole not in self._asked:
                self._asked[hole] = (packet.arrival_us, packet.arrival_us - NACK_AGAIN_US)

    def missing(self, now_us: int) -> list[int]:
        """16-bit sequence numbers to ask for now (RFC 4585 6.2.1); each at most every `NACK_AGAIN_US`."""
        due = [ext_seq for ext_seq, (_, asked_us) in self._asked.items() if now_us - asked_us >= NACK_AGAIN_US]
        for ext_seq in sorted(due)[:MAX_NACKED]:
            self._asked[ext_seq] = (self._asked[ext_seq][0], now_us)
        return [ext_seq & 0xFFFF for ext_seq in sorted(due)[:MAX_NACKED]]

    def take(self, now_us: int) -> Iterator[Packet | Lost]:
        """Packets that are next in order; `Lost` where the patience with a hole is over."""
        while self._waiting and self._next is not None:
            packet = self._waiting.pop(self._next, None)
            if packet is not None:
                self._next += 1
                yield Packet(
                    packet.payload_type, packet.marker, packet.seq, packet.rtp_ts, packet.payload, packet.arrival_us,
                    self._stamps.extend(packet.rtp_ts),
                )  # fmt: skip
                continue
            since_us, _ = self._asked.get(self._next, (0, 0))
            if now_us - since_us < PATIENCE_US:
                return
            after = min(self._waiting)
            for hole in range(self._next, after):
                self._asked.pop(hole, None)
            lost = after - self._next
            self._next = after
            self.lost += lost
            yield Lost(lost)

    def extend_ts(self, rtp_ts: int) -> int:
        """The RTP time of a sender report, on the same 64-bit scale as the packets'."""
        return self._stamps.extend(rtp_ts)

    def highest_seq(self) -> int:
        """32-bit extended highest sequence number for a receiver report (RFC 3550 6.4.1)."""
        return ((self._next or 1) - 1 + len(self._waiting)) & 0xFFFF_FFFF
