"""What a node says about itself: flows for evidence, a snapshot for people, metrics for Prometheus."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from media.node import MediaNode
    from media.router import MediaRouter


class RouterStats(Collector):
    """Reads the native counters when asked."""

    def __init__(self, router: MediaRouter, node: MediaNode) -> None:
        self._router = router
        self._node = node
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


def cpu_seconds() -> float:
    """User and system CPU time of this process so far, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
