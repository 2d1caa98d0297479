"""TURN servers as a grant names them, with credentials of the person's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signaling.protocol import IceServerGrant

if TYPE_CHECKING:
    from media import Turn


def ice_servers(turn: Turn | None, person_id: str, now_ms: int) -> list[IceServerGrant]:
    """One entry for all servers, since they share a secret; none where there is no TURN."""
    if turn is None:
        return []
    username, credential = turn.credentials(person_id, now_ms)
    return [IceServerGrant(urls=list(turn.urls), username=username, credential=credential)]
