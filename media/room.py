"""What slots of a name show in a whole room: one word to the node, whoever is there or comes later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Rooms whose routes are remembered; the oldest are forgotten. A lesson is one room, and fresh tokens carry its routes.
MAX_ROOMS = 2000
# A token made this much later than a room's word may still have been written by someone who had not heard of it:
# clocks of web nodes differ, and a token is signed a moment after what it says was looked up.
TOKEN_SLACK_MS = 2000


@dataclass(frozen=True, slots=True)
class RoomSource:
    """A publication for a slot of everyone's, or None for nothing. `except_holder` is shown nothing instead: nobody
    wants to hear their own voice come back."""

    publication_id: str | None
    except_holder: str | None = None

    def for_holder(self, holder: str) -> str | None:
        return None if self.except_holder == holder else self.publication_id


@dataclass(frozen=True, slots=True)
class RoomRoute:
    source: RoomSource
    told_at_ms: int

    def outranks(self, told_at_ms: int) -> bool:
        """Whether it holds against what a token, or a word to one viewer, said at that time."""
        return told_at_ms <= self.told_at_ms + TOKEN_SLACK_MS


class Rooms:
    """The newest word for each slot name of each room."""

    def __init__(self) -> None:
        self._rooms: dict[str, dict[str, RoomRoute]] = {}

    def tell(self, room: str, slots: dict[str, RoomSource], told_at_ms: int) -> dict[str, RoomRoute]:
        """Remembers what is news and answers it; words older than the last one, overtaken on the way, are not."""
        routes = self._rooms.pop(room, {})
        news = {
            name: RoomRoute(source, told_at_ms)
            for name, source in slots.items()
            if name not in routes or routes[name].told_at_ms <= told_at_ms
        }
        routes.update(news)
        self._rooms[room] = routes
        if len(self._rooms) > MAX_ROOMS:
            del self._rooms[next(iter(self._rooms))]
        return news

    def routes(self, room: str, names: Iterable[str]) -> dict[str, RoomRoute]:
        known = self._rooms.get(room, {})
        return {name: known[name] for name in names if name in known}

    def snapshot(self) -> dict[str, dict[str, str | None]]:
        return {
            room: {name: route.source.publication_id for name, route in routes.items()}
            for room, routes in self._rooms.items()
        }
