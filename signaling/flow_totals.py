"""What each publication has brought over all media nodes together. Pure bookkeeping.

A camera that moves from one node to another is at both for a moment; its counters there are two, its picture is one.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from signaling.flow_book import Sample

if TYPE_CHECKING:
    from media import Flow


class FlowTotals:
    """Samples by publication; only video counts, the encodings of one simulcast together."""

    def __init__(self) -> None:
        self._at_nodes: dict[str, dict[str, int]] = {}  # publication → node → bytes, of the sample before
        self._moved: dict[str, int] = {}  # publication → bytes that other nodes' counters stand for

    def take(self, flows: list[Flow]) -> dict[str, Sample]:
        """The totals go on when a publication is seen at its old and its new node in one sample; otherwise the new
        node's counters are new ones, as those of a new session are."""
        now: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        ages: dict[str, list[int]] = defaultdict(list)
        for flow in flows:
            if flow.kind != "video":
                continue
            now[flow.publication_id][flow.node_id] += flow.payload_bytes
            if flow.last_packet_age_ms is not None:
                ages[flow.publication_id].append(flow.last_packet_age_ms)
        samples: dict[str, Sample] = {}
        for name, nodes in now.items():
            before = self._at_nodes.get(name, {})
            if before.keys() & nodes.keys():
                gone = sum(count for node, count in before.items() if node not in nodes)
                begun = sum(count for node, count in nodes.items() if node not in before)
                self._moved[name] = self._moved.get(name, 0) + gone - begun
            else:
                self._moved.pop(name, None)
            total = sum(nodes.values()) + self._moved.get(name, 0)
            samples[name] = Sample(total, min(ages[name]) if ages[name] else None)
        self._at_nodes = {name: dict(nodes) for name, nodes in now.items()}
        self._moved = {name: count for name, count in self._moved.items() if name in now}
        return samples
