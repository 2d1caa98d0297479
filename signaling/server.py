"""The Socket.IO server of one web node and the background loops behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import socketio

from media import MediaError
from signaling.conductors import Conductors
from signaling.context import Context
from signaling.entrance import Entrance
from signaling.event_log import EventLog
from signaling.face_checks import FaceChecks
from signaling.feed import Feeds
from signaling.floor import Floor
from signaling.hints import Hints
from signaling.lesson_namespace import LessonNamespace
from signaling.media_events import MediaEvents
from signaling.media_moves import MediaMoves
from signaling.participation import Participation
from signaling.presence import Presence
from signaling.push import Relay, listen_for_nudges
from signaling.seats import RECHECK_S, EndReason, Seats
from signaling.studio import Studio
from signaling.upkeep import Loops
from signaling.wall import Wall

# A silent socket is noticed within PING_INTERVAL_S + PING_TIMEOUT_S: learners must be back within 15 s.
PING_INTERVAL_S = 4
PING_TIMEOUT_S = 6
MAX_MESSAGE_BYTES = 32 * 1024


class LiveServer:
    """Everything live of one web node. `asgi` wraps the HTTP application; `start` and `stop` frame its life."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.seats = Seats(context.redis, self._end_media, prefix=context.prefix)
        self.event_log = EventLog(context.redis, prefix=context.prefix)
        manager = socketio.AsyncRedisManager(
            context.redis_url, channel=context.key("socketio"), redis_options={"socket_connect_timeout": 2}
        )
        self.socketio = socketio.AsyncServer(
            async_mode="asgi",
            client_manager=manager,
            cors_allowed_origins=context.allowed_origins,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            max_http_buffer_size=MAX_MESSAGE_BYTES,
            logger=False,
            engineio_logger=False,
        )
        self.feeds = Feeds(self.socketio, self.event_log)
        self.namespace = LessonNamespace(context, self.seats)
        self.presence = Presence(context)
        self.face_checks = FaceChecks(context)
        self.conductors = Conductors(context, self.presence, self.face_checks, self.event_log)
        self.floor = Floor(context, self.event_log, self.presence, self.conductors)
        self._media_events = MediaEvents(context, self.conductors, self.floor)
        self._media_moves = MediaMoves(context, self.namespace, self.socketio)
        self._relay = Relay(context, self.event_log)
        self._loops = Loops()
        for part in (
            Entrance(context, self.seats, self.event_log, self.feeds, self.presence, self.namespace, self.floor),
            Participation(context, self.seats),
            Studio(context, self.conductors),
            Wall(context, self.face_checks, self.event_log),
            self.floor,
            Hints(context),
        ):
            self.namespace.calls.update(part.calls())
        self.presence.own_seats = self.namespace.sitting
        self.socketio.register_namespace(self.namespace)

    def asgi(self, application: Any, path: str = "socket.io") -> socketio.ASGIApp:
        """One ASGI application: Socket.IO under `path`, everything else to `application`."""
        return socketio.ASGIApp(self.socketio, other_asgi_app=application, socketio_path=path)

    async def start(self) -> None:
        """Launches the loops; each survives Redis, the database and the media nodes being away."""
        self._loops.start("outbox relay", self._relay.run)
        self._loops.start("outbox nudges", lambda: listen_for_nudges(self.context))
        self._loops.start("seat notices", lambda: self.seats.listen(self.namespace.end_here))
        self._loops.start("seat recheck", self._recheck)
        self._loops.start("presence", self.presence.run)
        self._loops.start("conductors", self.conductors.run)
        self._loops.start("media events", self._media_events.run)
        self._loops.start("floor", self.floor.keep)
        self._loops.start("media moves", self._media_moves.run)
        self._loops.start("face checks", self.face_checks.run)

    async def stop(self) -> None:
        """Ends the loops, gives leases back, closes what was opened here. The context's own parts stay open."""
        await self._loops.stop()
        await self.conductors.stop()
        await self.feeds.stop()
        await self.seats.stop()

    def snapshot(self) -> dict[str, Any]:
        """How this node stands: for health pages and for whoever looks for the reason of something."""
        return {
            "node_id": self.context.node_id,
            "windows": len(self.namespace.windows),
            "seated": len(self.namespace.sitting()),
            "feeds": self.feeds.snapshot(),
            "conducting": self.conductors.snapshot(),
            "relaying": self._relay.relaying,
            "face_checks_waiting": self.face_checks.waiting,
        }

    async def end_session(self, person_id: str, session_id: str, reason: EndReason) -> None:
        """To be called by sign-in for each session it ended, and by sign-out: ends sockets, seat and media."""
        await self.seats.end_session(person_id, session_id, reason)

    async def _recheck(self) -> None:
        while True:
            await self.namespace.recheck_seats()
            await asyncio.sleep(RECHECK_S)

    async def _end_media(self, seat_id: str) -> None:
        try:
            await self.context.media.end_seat(seat_id)
        except MediaError as error:
            raise ConnectionError(str(error)) from error


def make_server(context: Context) -> LiveServer:
    """The live side of one web node, not started yet."""
    return LiveServer(context)
