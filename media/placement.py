"""Which node a new session goes to: together with its lesson while there is room, else where there is most room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from media.registry import NodeInfo

# Up to this load a lesson stays together, which spares trunks; above it its further viewers are spread.
TOGETHER_BELOW = 0.6


def load_of(node: NodeInfo, on_the_way: int = 0) -> float:
    """0 idle … 1 full: the scarcer of places and CPU. `on_the_way`: sessions sent there that its record lacks yet."""
    places = (node.sessions + on_the_way) / max(1, node.max_sessions)
    # What a session costs in CPU follows from those that are there; the newcomers will cost as much.
    growth = (node.sessions + on_the_way) / node.sessions if node.sessions else 1.0
    return max(places, node.cpu * growth)


def choose(
    nodes: Sequence[NodeInfo], room: str | None = None, on_the_way: Mapping[tuple[str, str | None], int] | None = None
) -> NodeInfo | None:
    """None where there is no node. A draining node is chosen only when all are draining.

    `on_the_way`: (node, room) → sessions sent there that the node's record lacks yet.
    """
    able = [node for node in nodes if not node.draining] or list(nodes)
    if not able:
        return None
    ahead: Counter[str] = Counter()
    ours = {node.node_id for node in able if room is not None and node.rooms.get(room)}
    for (node_id, sent_room), count in (on_the_way or {}).items():
        ahead[node_id] += count
        if room is not None and sent_room == room:
            ours.add(node_id)

    def load(node: NodeInfo) -> float:
        return load_of(node, ahead[node.node_id])

    together = [node for node in able if node.node_id in ours and load(node) < TOGETHER_BELOW]
    # Equal loads: the longest running, as `nodes` are ordered; so a lesson that is just beginning does not scatter.
    return min(together or able, key=load)
