"""One seat per person: the newest window sits, the earlier one ends on every web node and in the media (R-060, R-061).

The seat is one Redis key per person, swapped by a script, so two windows that arrive together on two nodes cannot
both win. The loser hears of it through pub/sub at once; every node also compares its windows with Redis every two
seconds, so that a notice lost with a connection delays the end by no more than that.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Literal

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from signaling.protocol import ErrorCode
from signaling.sentences import Refusal
from signaling.upkeep import end_tasks

EndReason = Literal["second_window", "second_sign_in", "signed_out", "removed"]

SEAT_TTL_S = 24 * 3600
RECHECK_S = 2.0
RETRY_S = 0.5
CHANNEL = "seats"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Seat:
    seat_id: str
    person_id: str
    session_id: str
    window_id: str
    lesson_id: str

    def text(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class EndNotice:
    """What nodes tell each other: this seat, or every socket of this session, is over.

    With `keep_sid` the seat goes on: every other socket on it that joined before `at_ms` is over.
    """

    reason: EndReason
    person_id: str | None = None
    seat_id: str | None = None
    session_id: str | None = None
    keep_sid: str | None = None
    at_ms: int = 0


# KEYS: seat, ended windows; ARGV: new seat, window, session, lesson, ttl_s.
# Answers {1, seat, ""} kept (the same window again), {2, seat, previous} taken, {0, "", ""} refused.
_TAKE = """
local held = redis.call('GET', KEYS[1])
if redis.call('SISMEMBER', KEYS[2], ARGV[2]) == 1 then return {0, '', ''} end
if held and cjson.decode(held).seat_id == '' then held = false end
if held then
  local seat = cjson.decode(held)
  if seat.window_id == ARGV[2] and seat.session_id == ARGV[3] and seat.lesson_id == ARGV[4] then
    redis.call('EXPIRE', KEYS[1], ARGV[5])
    return {1, held, ''}
  end
  if seat.window_id ~= ARGV[2] then
    redis.call('SADD', KEYS[2], seat.window_id)
    redis.call('EXPIRE', KEYS[2], ARGV[5])
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[5])
return {2, ARGV[1], held or ''}
"""

# KEYS: seat; ARGV: seat id. Removes the seat if it is still this one.
_LEAVE = """
local held = redis.call('GET', KEYS[1])
if held and cjson.decode(held).seat_id == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

# KEYS: seat; ARGV: session id, the seat that nobody holds, ttl_s. Answers the seat that this session held, or "".
# An empty seat is left in its place, so that a node which missed the notice still sees that its seat was lost.
_EMPTY = """
local held = redis.call('GET', KEYS[1])
if held and cjson.decode(held).session_id == ARGV[1] and cjson.decode(held).seat_id ~= '' then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
  return held
end
return ''
"""


class Seats:
    """The seats of all people, as this node sees them."""

    def __init__(self, redis: Redis, end_media: Callable[[str], Awaitable[object]], *, prefix: str = "") -> None:
        """`end_media(seat_id)` closes what the seat publishes and plays, on every media node; OSError to be retried."""
        self._redis = redis
        self._prefix = prefix
        self._end_media = end_media
        self._retries: set[asyncio.Task[None]] = set()

    def _key(self, person_id: str) -> str:
        return f"{self._prefix}seat:{{{person_id}}}"

    async def take(self, person_id: str, session_id: str, window_id: str, lesson_id: str) -> Seat:
        """The person's seat for this window; whoever sat there in another window is ended.

        The same window coming back (a reconnect) keeps its seat. Raises Refusal(SEAT_TAKEN) for a window that was
        ended by a later one: else two windows that both reconnect by themselves would throw each other out forever.
        """
        wanted = Seat("s_" + secrets.token_hex(8), person_id, session_id, window_id, lesson_id)
        keys = [self._key(person_id), self._key(person_id) + ":ended"]
        verdict, held, previous = await self._redis.eval(
            _TAKE, 2, *keys, wanted.text(), window_id, session_id, lesson_id, SEAT_TTL_S
        )
        if verdict == 0:
            raise Refusal(ErrorCode.SEAT_TAKEN)
        if previous:
            old = _seat(previous)
            reason: EndReason = "second_window" if old.session_id == session_id else "second_sign_in"
            self._end_later(EndNotice(reason, person_id, old.seat_id))
        return _seat(held)

    async def one_socket(self, seat: Seat, sid: str, at_ms: int) -> None:
        """The seat's newest socket is its only one: a copied window id is a second window too (R-060).

        Raises RedisError when Redis is away.
        """
        notice = EndNotice("second_window", seat.person_id, seat.seat_id, keep_sid=sid, at_ms=at_ms)
        await self._redis.publish(self._prefix + CHANNEL, json.dumps(asdict(notice)))

    async def holder(self, person_id: str) -> Seat | None:
        held = await self._redis.get(self._key(person_id))
        return seat if held and (seat := _seat(held)).seat_id else None

    async def leave(self, seat: Seat) -> None:
        """Gives the seat back, if it is still this one, and ends its media."""
        await self._redis.eval(_LEAVE, 1, self._key(seat.person_id), seat.seat_id)
        self._end_later(EndNotice("removed", seat.person_id, seat.seat_id), told=True)

    async def end_session(self, person_id: str, session_id: str, reason: EndReason) -> None:
        """Ends whatever sits under a session that signed out or was replaced by a newer sign-in.

        Returns at once; while Redis or the media nodes are away it is tried again until they are back.
        """
        self._end_later(EndNotice(reason, person_id, session_id=session_id))

    def _end_later(self, notice: EndNotice, *, told: bool = False) -> None:
        task = asyncio.get_running_loop().create_task(self._end(notice, told))
        self._retries.add(task)
        task.add_done_callback(self._retries.discard)

    async def _end(self, notice: EndNotice, told: bool) -> None:
        seat_id = notice.seat_id
        while True:
            try:
                if not told:
                    if notice.session_id is not None and notice.person_id is not None:
                        empty = Seat("", notice.person_id, notice.session_id, "", "")
                        held = await self._redis.eval(
                            _EMPTY, 1, self._key(notice.person_id), notice.session_id, empty.text(), SEAT_TTL_S
                        )
                        seat_id = _seat(held).seat_id if held else seat_id
                    await self._redis.publish(self._prefix + CHANNEL, json.dumps(asdict(notice)))
                    told = True
                if seat_id is not None:
                    await self._end_media(seat_id)
                return
            except (RedisError, OSError) as error:
                log.warning("seat not ended yet", seat=seat_id, session=notice.session_id, reason=str(error))
                await asyncio.sleep(RETRY_S)

    async def listen(self, end_here: Callable[[EndNotice], Awaitable[None]]) -> None:
        """Passes every notice of any node to `end_here`; returns only by an error of the connection."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(self._prefix + CHANNEL)
            while True:
                message = await subscription.get_message(timeout=1.0)
                if message is not None and message["type"] == "message":
                    await end_here(EndNotice(**json.loads(message["data"])))

    async def lost(self, seats: list[Seat]) -> list[tuple[Seat, EndReason]]:
        """Those of `seats` that are no longer their person's seat.

        A missing key is not a loss: a Redis that came back empty must not end a whole class.
        """
        if not seats:
            return []
        ended: list[tuple[Seat, EndReason]] = []
        for seat, held in zip(seats, await self._redis.mget([self._key(s.person_id) for s in seats]), strict=True):
            if held and (now := _seat(held)).seat_id != seat.seat_id:
                same_session = now.session_id == seat.session_id and now.seat_id != ""
                ended.append((seat, "second_window" if same_session else "second_sign_in"))
        return ended

    def end_media(self, seat: Seat, reason: EndReason) -> None:
        """Ends what a lost seat still publishes and plays: whoever took it may not have known of it."""
        self._end_later(EndNotice(reason, seat.person_id, seat.seat_id), told=True)

    async def stop(self) -> None:
        await end_tasks(self._retries)


def _seat(held: bytes | str) -> Seat:
    return Seat(**json.loads(held))
