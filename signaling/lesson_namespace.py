"""The one Socket.IO namespace of a lesson: who calls, is the payload right, may it be now, what is the answer.

What the calls do is in `entrance` (join, leave, media), `participation` (chat, hand, ping, quiz answers), `studio`
(start, end, quiz) and `wall` (checks, notices, slots); each takes a `Window` and a parsed payload.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any, TypeVar

import socketio
import structlog
from pydantic import ValidationError
from redis.exceptions import RedisError
from socketio.exceptions import ConnectionRefusedError as Refused

from classroom import ClassroomError
from media import MediaError
from signaling.protocol import CALLS, LESSON_NAMESPACE, SEAT_ENDED_EVENT, ErrorBody, ErrorCode, Payload, Role, SeatEnded
from signaling.seats import EndNotice, EndReason, Seat, Seats
from signaling.sentences import Refusal

if TYPE_CHECKING:
    from classroom import Actor, LessonView
    from signaling.context import Context

P = TypeVar("P", bound=Payload)
Call = Callable[["Window", Any], Awaitable[Payload]]

# event → (calls a second over time, burst). Others: the default. People click; only scripts are faster.
RATES: dict[str, tuple[float, float]] = {
    "join": (0.5, 6.0),
    "chat.send": (1.0, 5.0),
    "wall.show": (10.0, 30.0),
    "media.seen": (0.3, 4.0),
}
DEFAULT_RATE = (4.0, 12.0)
TOTAL_RATE = (20.0, 60.0)  # all calls of one window together, whatever their names
STAFF = frozenset({Role.INSTRUCTOR, Role.PROCTOR, Role.ORGANISER})

log = structlog.get_logger(__name__)


@dataclass
class Bucket:
    """A token bucket: `rate` a second, at most `burst` saved up."""

    rate: float
    burst: float
    level: float
    at_s: float

    def admits(self, now_s: float) -> bool:
        self.level = min(self.burst, self.level + (now_s - self.at_s) * self.rate)
        self.at_s = now_s
        if self.level < 1:
            return False
        self.level -= 1
        return True


@dataclass
class Window:
    """One connected socket: whose it is and, once joined, where it sits."""

    sid: str
    actor: Actor
    token: str  # of the session it was opened under
    joined_ms: int = 0
    seat: Seat | None = None
    lesson: LessonView | None = None
    role: Role | None = None
    wall_slots: int = 12
    buckets: dict[str, Bucket] = field(default_factory=dict)
    joining: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def staff(self) -> bool:
        return self.role in STAFF

    def admit(self, name: str, rate: float, burst: float) -> None:
        """Refusal(TOO_FAST) for more than `rate` calls of this name a second."""
        now_s = time.monotonic()
        if not self.buckets.setdefault(name, Bucket(rate, burst, burst, now_s)).admits(now_s):
            raise Refusal(ErrorCode.TOO_FAST)

    def sitting(self) -> tuple[Seat, LessonView, Role]:
        """Where this window sits; Refusal(WRONG_STATE) before it joined."""
        if self.seat is None or self.lesson is None or self.role is None:
            raise Refusal(ErrorCode.WRONG_STATE)
        return self.seat, self.lesson, self.role

    def require(self, *roles: Role) -> tuple[Seat, LessonView, Role]:
        """As `sitting`, for these roles only: others are told that there is no such thing."""
        seat, lesson, role = self.sitting()
        if role not in roles:
            raise Refusal(ErrorCode.NOT_FOUND)
        return seat, lesson, role


def parse_untrusted(model: type[P], arguments: tuple[object, ...]) -> P:
    """The call's one payload object. Raises Refusal(BAD_PAYLOAD) and nothing else, whatever was sent."""
    if len(arguments) > 1:
        raise Refusal(ErrorCode.BAD_PAYLOAD)
    raw = arguments[0] if arguments and arguments[0] is not None else {}
    try:
        return model.model_validate(raw)
    except (ValidationError, RecursionError) as error:
        raise Refusal(ErrorCode.BAD_PAYLOAD) from error


def cookie_untrusted(header: object, name: str) -> str | None:
    """The value of one cookie in a Cookie header; None when it is absent or the header is not one."""
    if not isinstance(header, str):
        return None
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return morsel.value if morsel is not None else None


def token_untrusted(environ: dict[str, Any], auth: object, cookie: str) -> str | None:
    """The session token a client shows: in Socket.IO's `auth` object, else in the session cookie."""
    shown = auth.get("token") if isinstance(auth, dict) else None
    if isinstance(shown, str) and shown:
        return shown
    return cookie_untrusted(environ.get("HTTP_COOKIE"), cookie)


_OWN_CODES: dict[str, ErrorCode] = {
    "stale_fence": ErrorCode.TRY_AGAIN,
    "duplicate": ErrorCode.WRONG_STATE,
    "no_node": ErrorCode.MEDIA_UNAVAILABLE,
    "node_draining": ErrorCode.MEDIA_UNAVAILABLE,
    "node_full": ErrorCode.MEDIA_UNAVAILABLE,
    "control_refused": ErrorCode.MEDIA_UNAVAILABLE,
    "no_subscription": ErrorCode.NOT_FOUND,
    "no_publication": ErrorCode.NOT_FOUND,
    "no_slot": ErrorCode.NOT_FOUND,
    "bad_request": ErrorCode.BAD_PAYLOAD,
    "bad_name": ErrorCode.BAD_PAYLOAD,
}


def refusal_of(error: Exception) -> Refusal:
    """The coded answer for an error of any house; an unforeseen one becomes TRY_AGAIN and is logged in full."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ClassroomError):
        known = error.code in set(ErrorCode)
        code = ErrorCode(error.code) if known else _OWN_CODES.get(error.code, ErrorCode.TRY_AGAIN)
        return Refusal(code, (error.message, error.message_en) if known else None)
    if isinstance(error, MediaError):
        return Refusal(_OWN_CODES.get(error.code, ErrorCode.MEDIA_UNAVAILABLE))
    if isinstance(error, RedisError | OSError):
        log.warning("call refused while something is away", reason=repr(error))
        return Refusal(ErrorCode.TRY_AGAIN)
    log.error("call failed", exc_info=error)
    return Refusal(ErrorCode.TRY_AGAIN)


class LessonNamespace(socketio.AsyncNamespace):
    """Parses, limits, dispatches and answers; keeps this node's windows."""

    def __init__(self, context: Context, seats: Seats) -> None:
        super().__init__(LESSON_NAMESPACE)
        self.windows: dict[str, Window] = {}
        self.calls: dict[str, Call] = {}
        self.left: Callable[[Window, str], Awaitable[None]] | None = None  # told when a joined window goes
        self._context = context
        self._seats = seats

    async def trigger_event(self, event: str, *args: Any) -> Any:
        """python-socketio's entry point for every event of this namespace."""
        if event == "connect":
            return await self._connect(*args)
        if event == "disconnect":
            return await self._disconnect(args[0], str(args[1]) if len(args) > 1 else "")
        return await self._call(event, args[0], args[1:])

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        token = token_untrusted(environ, auth, self._context.session_cookie)
        try:
            actor = await self._context.find_actor(token) if token else None
        except Exception as error:
            raise _connection_refused(refusal_of(error)) from error
        if actor is None or token is None:
            raise _connection_refused(Refusal(ErrorCode.SIGN_IN_REQUIRED))
        self.windows[sid] = Window(sid, actor, token)

    async def _disconnect(self, sid: str, reason: str) -> None:
        window = self.windows.pop(sid, None)
        if window is not None and window.seat is not None and self.left is not None:
            try:
                await self.left(window, reason)
            except Exception as error:  # noqa: BLE001  (the socket is gone; the presence sweep will see it too)
                log.warning("leaving not recorded", person=window.actor.person_id, reason=repr(error))

    async def _call(self, event: str, sid: str, arguments: tuple[object, ...]) -> dict[str, Any]:
        try:
            window = self.windows.get(sid)
            if window is None:
                raise Refusal(ErrorCode.SIGN_IN_REQUIRED)
            window.admit("", *TOTAL_RATE)
            if event not in CALLS:
                raise Refusal(ErrorCode.BAD_PAYLOAD)
            window.admit(event, *RATES.get(event, DEFAULT_RATE))
            result = await self.calls[event](window, parse_untrusted(CALLS[event][0], arguments))
        except Exception as error:  # noqa: BLE001  (every call is answered, with a code)
            return _refused(refusal_of(error).body())
        return {"ok": True, **result.model_dump(mode="json")}

    def sitting(self) -> list[tuple[Seat, str, Role]]:
        """This node's joined windows: seat, socket, role."""
        return [(w.seat, w.sid, w.role) for w in self.windows.values() if w.seat is not None and w.role is not None]

    async def end_here(self, notice: EndNotice) -> None:
        """Ends the windows of this node that a notice speaks of."""
        for window in list(self.windows.values()):
            by_seat = notice.seat_id is not None and window.seat is not None and window.seat.seat_id == notice.seat_id
            if notice.keep_sid == window.sid or (notice.keep_sid is not None and window.joined_ms > notice.at_ms):
                continue
            by_session = notice.session_id is not None and window.actor.session_id == notice.session_id
            if by_seat or by_session:
                await self.end_window(window, notice.reason)

    async def end_window(self, window: Window, reason: EndReason) -> None:
        """Tells the window why and closes its socket."""
        log.info("window ended", person=window.actor.person_id, sid=window.sid, reason=reason)
        body = SeatEnded(reason=reason).model_dump(mode="json")
        await self.server.emit(SEAT_ENDED_EVENT, body, to=window.sid, namespace=LESSON_NAMESPACE, ignore_queue=True)
        await self.server.disconnect(window.sid, namespace=LESSON_NAMESPACE)

    async def recheck_seats(self) -> None:
        """Ends windows whose seat went to another one while this node could not hear of it."""
        sitting = {window.seat.seat_id: window for window in self.windows.values() if window.seat is not None}
        lost = await self._seats.lost([window.seat for window in sitting.values() if window.seat is not None])
        for seat, reason in lost:
            self._seats.end_media(seat, reason)
            await self.end_window(sitting[seat.seat_id], reason)


def _refused(body: ErrorBody) -> dict[str, Any]:
    return {"ok": False, "error": body.model_dump(mode="json")}


def _connection_refused(refusal: Refusal) -> Refused:
    """The page's `connect_error`: its `message` is the code, its `data` the whole error body."""
    return Refused(refusal.code.value, refusal.body().model_dump(mode="json"))
