"""Which media nodes there are and how they stand: one record each in Redis, gone soon after its last heartbeat."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from redis.asyncio import Redis

from media.keys import MediaKeys


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A live media node. `public_url` is where browsers POST: `{public_url}/whip/{id}`, `{public_url}/whep/{id}`.

    `beat_ms`: its clock at its last heartbeat. `addresses`: where its router takes packets of other nodes, best first.
    `sessions` of at most `max_sessions`, `rooms` how many of them in each room. `cpu`: what share of the CPUs it may
    use it used of late, 0..1. `tx_bps`: bits a second sent. A `draining` node takes nothing new. `relay_problems`: by
    URL of a TURN server, why it does not relay to this node; None where there is none.
    """

    node_id: str
    control_url: str
    public_url: str
    started_at_ms: int
    beat_ms: int = 0
    addresses: tuple[tuple[str, int], ...] = ()
    sessions: int = 0
    max_sessions: int = 4000
    rooms: dict[str, int] = field(default_factory=dict)
    cpu: float = 0.0
    tx_bps: int = 0
    draining: bool = False
    relay_problems: dict[str, str] | None = None

    def record(self) -> str:
        """What `Registry` reads back."""
        shown = asdict(self)
        del shown["node_id"]
        return json.dumps(shown)


_KNOWN = {item.name for item in fields(NodeInfo)} - {"node_id"}


def _info(node_id: str, record: bytes | str) -> NodeInfo:
    # Nodes of another version may say more; an installation is renewed one node after the other.
    told: dict[str, Any] = {name: value for name, value in json.loads(record).items() if name in _KNOWN}
    told["addresses"] = tuple((str(ip), int(port)) for ip, port in told.get("addresses", ()))
    return NodeInfo(node_id, **told)


class Registry:
    """Reads the records. RedisError or OSError when Redis is away."""

    def __init__(self, redis: Redis, keys: MediaKeys) -> None:
        self._redis = redis
        self._keys = keys

    async def nodes(self) -> list[NodeInfo]:
        """Every live node, the longest running first."""
        members = await self._redis.zrange(self._keys.nodes, 0, -1)
        node_ids = [member.decode() if isinstance(member, bytes) else str(member) for member in members]
        records = await self._redis.mget([self._keys.node(item) for item in node_ids]) if node_ids else []
        found = [_info(node_id, record) for node_id, record in zip(node_ids, records, strict=True) if record]
        return sorted(found, key=lambda node: (node.started_at_ms, node.node_id))
