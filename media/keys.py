"""The names of what media nodes keep in Redis. `prefix` separates installations (and tests) on one Redis."""

from __future__ import annotations

from dataclasses import dataclass

# Long enough to outlive every token of a day's lessons.
ENDED_TTL_S = 24 * 3600
NODE_TTL_MS = 4000
HEARTBEAT_S = 1.0
EVENTS_MAX_LENGTH = 10_000


@dataclass(frozen=True, slots=True)
class MediaKeys:
    prefix: str = ""

    @property
    def nodes(self) -> str:
        """Sorted set of node ids by their last heartbeat (Unix epoch ms)."""
        return f"{self.prefix}media:nodes"

    def node(self, node_id: str) -> str:
        """JSON of a `registry.NodeInfo`, gone `NODE_TTL_MS` after the last heartbeat."""
        return f"{self.prefix}media:node:{node_id}"

    def publication(self, publication_id: str) -> str:
        """`since_us node_id`: which node has it, gone `NODE_TTL_MS` after that node's last heartbeat."""
        return f"{self.prefix}media:pub:{publication_id}"

    @property
    def events(self) -> str:
        """Stream of {type, id, holder, seat, room, node_id, at_ms, reason}."""
        return f"{self.prefix}media:events"

    def ended_seat(self, seat: str) -> str:
        """Set while tokens of this seat are refused."""
        return f"{self.prefix}media:ended:{seat}"

    def ended_holder(self, holder: str) -> str:
        """JSON {at_ms, keep_seat}: tokens of this holder made until then are refused, but for those of `keep_seat`."""
        return f"{self.prefix}media:ended_holder:{holder}"

    def ended_publication(self, publication_id: str) -> str:
        """Unix epoch ms: tokens to publish this that were made until then are refused."""
        return f"{self.prefix}media:ended_publication:{publication_id}"

    def recording(self, lesson: str) -> str:
        """JSON {state, reason, at_ms, bytes, segments, ends_ms, figures, recorder_id}, said once a second."""
        return f"{self.prefix}media:recording:{lesson}"

    def recorder(self, recorder_id: str) -> str:
        """JSON {lessons, cpu_s, up_s, rss_kib}, gone soon after the recorder."""
        return f"{self.prefix}media:recorder:{recorder_id}"
