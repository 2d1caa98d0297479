"""What a node says about itself: flows for evidence, a snapshot for people, metrics for Prometheus."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psutil
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from media.overview import overview

if TYPE_CHECKING:
    from media.node import MediaNode
    from media.router import MediaRouter

# Fields of the overview's encodings and slots that only grow.
RECEIVED = ("packets", "payload_bytes", "lost", "keyframes", "nacks_sent", "plis_sent")
SENT = ("packets", "payload_bytes", "retransmitted", "nacks_received", "plis_received")
DISTRIBUTIONS: tuple[tuple[str, str, tuple[float, ...]], ...] = (
    ("loss_ratio", "loss", (0.01, 0.02, 0.05, 0.1, 0.2)),
    ("rtt_ms", "rtt_ms", (25, 50, 100, 200, 400, 800)),
    ("estimate_bps", "estimate_bps", (100_000, 300_000, 600_000, 1_000_000, 2_000_000, 5_000_000)),
)


class RouterStats(Collector):
    """Reads the native counters when asked."""

    def __init__(self, router: MediaRouter, node: MediaNode) -> None:
        self._router = router
        self._node = node
        # (direction, what, kind, layer) → total; and per stream what was counted of it so far.
        self._totals: Counter[tuple[str, str, str, str]] = Counter()
        self._counted: dict[tuple[str, str, int], int] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def flows(self) -> list[dict[str, Any]]:
        """One entry per encoding of every publication, counted until now."""
        by_ingest = {flow["ingest_id"]: flow for flow in self._router.native.snapshot()["ingests"]}
        flows: list[dict[str, Any]] = []
        for publication in self._router.publications.values():
            for encoding in publication.encodings:
                flow = by_ingest.get(encoding.ingest_id)
                flows.append(
                    {
                        "publication_id": publication.id,
                        "holder": publication.claims.holder,
                        "seat": publication.claims.seat,
                        "room": publication.claims.room,
                        "kind": encoding.kind.value,
                        "rid": encoding.rid,
                        "packets": flow["packets"] if flow else 0,
                        "payload_bytes": flow["payload_bytes"] if flow else 0,
                        "last_packet_age_ms": flow["last_packet_age_ms"] if flow else None,
                    }
                )
        return flows

    def snapshot(self) -> dict[str, Any]:
        """Everything, for people and tests: `node`, `sessions`, `router` (native), `cpu_s`."""
        return {
            "node": self._node.snapshot(),
            "sessions": self._router.snapshot(),
            "router": self._router.native.snapshot(),
            "cpu_s": cpu_seconds(),
        }

    def overview(self) -> dict[str, Any]:
        """What operators look at (`media.overview`): `node`, `publications`, `subscriptions`."""
        found = overview(self._router)
        node = {
            **self._node.snapshot(),
            "at_ms": wall_clock_ms(),
            "cpu_s": cpu_seconds(),
            "memory_bytes": memory_bytes(),
            "counters": {**self._router.native.counters(), **self._router.counters},
        }
        return {"node": node, **found}

    def metrics(self) -> bytes:
        """Prometheus text exposition."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        for name, value in self._router.native.counters().items():
            counter = CounterMetricFamily(f"anke_media_{name}", f"Router counter {name}.")
            counter.add_metric([], value)
            yield counter
        for name, value in self._router.counters.items():
            counter = CounterMetricFamily(f"anke_media_{name}", f"Sessions and taps: {name}.")
            counter.add_metric([], value)
            yield counter
        sessions = GaugeMetricFamily("anke_media_sessions", "Sessions now.", labels=["act"])
        sessions.add_metric(["publish"], len(self._router.publications))
        sessions.add_metric(["play"], len(self._router.subscriptions))
        yield sessions
        yield GaugeMetricFamily("anke_media_memory_bytes", "Resident memory of the node.", value=memory_bytes())
        yield CounterMetricFamily("anke_media_cpu_seconds", "User and system CPU time.", value=cpu_seconds())
        yield from self._collect_streams(overview(self._router))

    def _collect_streams(self, found: dict[str, list[dict[str, Any]]]) -> Iterator[Metric]:
        """By kind and layer, never by person, lesson or address: as many series for ten viewers as for a thousand.

        What a stream brought after the last scrape it saw is not in these; the router's own counters are exact.
        """
        seen: dict[tuple[str, str, int], int] = {}
        for session in found["publications"]:
            videos = [encoding for encoding in session["encodings"] if encoding["kind"] == "video"]
            for encoding in session["encodings"]:
                layer = str(videos.index(encoding)) if len(videos) > 1 and encoding in videos else ""
                self._count("received", RECEIVED, encoding, layer, seen)
        for session in found["subscriptions"]:
            for slot in session["slots"]:
                layer = "" if slot["layer"] is None or slot["kind"] == "audio" else str(slot["layer"])
                self._count("sent", SENT, slot, layer, seen)
        self._counted = seen
        for direction, names in (("received", RECEIVED), ("sent", SENT)):
            for name in names:
                family = CounterMetricFamily(
                    f"anke_media_{direction}_{name}", f"Streams {direction}: {name}.", labels=["kind", "layer"]
                )
                for (of, what, kind, layer), total in sorted(self._totals.items()):
                    if (of, what) == (direction, name):
                        family.add_metric([kind, layer], total)
                yield family
        yield from _viewers(found["subscriptions"])

    def _count(
        self,
        direction: str,
        names: tuple[str, ...],
        flow: dict[str, Any],
        layer: str,
        seen: dict[tuple[str, str, int], int],
    ) -> None:
        for name in names:
            key = (direction, name, flow["native_id"] or 0)
            value = int(flow[name])
            self._totals[direction, name, flow["kind"], layer] += max(0, value - self._counted.get(key, 0))
            seen[key] = value


def _viewers(subscriptions: list[dict[str, Any]]) -> Iterator[Metric]:
    """How the viewers of this node are served now, as distributions: nobody is named."""
    connected = [session for session in subscriptions if session["state"] == "connected"]
    paths = GaugeMetricFamily("anke_media_viewers", "Connected viewers.", labels=["path"])
    for path, count in sorted(Counter(session["path"] for session in connected).items()):
        paths.add_metric([path], count)
    yield paths
    shown: Counter[tuple[str, str]] = Counter()
    for session in connected:
        for slot in session["slots"]:
            if slot["source"] is not None:
                shown[slot["kind"], slot["why"][0]] += 1
    slots = GaugeMetricFamily("anke_media_slots", "Slots by why they show what they show.", labels=["kind", "why"])
    for (kind, reason), count in sorted(shown.items()):
        slots.add_metric([kind, reason], count)
    yield slots
    for name, field, bounds in DISTRIBUTIONS:
        values = [float(session[field]) for session in connected if session[field] is not None]
        family = GaugeHistogramMetricFamily(f"anke_media_viewer_{name}", f"Connected viewers by {name}.")
        buckets = [(str(bound), float(sum(value <= bound for value in values))) for bound in bounds]
        family.add_metric([], [*buckets, ("+Inf", float(len(values)))], gsum_value=sum(values))
        yield family


def wall_clock_ms() -> int:
    """Unix epoch milliseconds."""
    return time.time_ns() // 1_000_000


def memory_bytes() -> int:
    """Resident memory of this process."""
    return int(psutil.Process().memory_info().rss)


def cpu_seconds() -> float:
    """User and system CPU time of this process so far, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
