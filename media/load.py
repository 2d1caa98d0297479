"""How busy a node is, as its heartbeat tells it: sessions by room, share of the CPUs, bits sent."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from media.stats import cpu_seconds

if TYPE_CHECKING:
    from media.router import MediaRouter

# Shorter spans than this say more about the moment than about the node.
MIN_SPAN_S = 0.5


class LoadMeter:
    """Called once a heartbeat; rates are those since the call before."""

    def __init__(
        self,
        router: MediaRouter,
        addresses: tuple[tuple[str, int], ...],
        threads: int,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = router
        self._addresses = addresses
        # The router's threads and one for Python; more CPUs than that do not help this node.
        self._cpus = min(len(os.sched_getaffinity(0)), threads + 1)
        self._clock_s = clock_s
        self._before = (clock_s(), cpu_seconds(), 0)
        self._rates = (0.0, 0)

    def __call__(self) -> dict[str, Any]:
        """The load fields of a `NodeInfo`."""
        now_s, cpu_s, tx_bytes = self._clock_s(), cpu_seconds(), self._router.native.counters()["tx_bytes"]
        before_s, cpu_before_s, tx_before = self._before
        span_s = now_s - before_s
        if span_s >= MIN_SPAN_S:
            self._rates = ((cpu_s - cpu_before_s) / span_s / self._cpus, round((tx_bytes - tx_before) * 8 / span_s))
            self._before = (now_s, cpu_s, tx_bytes)
        cpu, tx_bps = self._rates
        sessions = self._router.sessions.values()
        return {
            "addresses": self._addresses,
            "sessions": len(sessions),
            "rooms": dict(Counter(session.claims.room for session in sessions)),
            "cpu": round(min(1.0, cpu), 3),
            "tx_bps": tx_bps,
        }
