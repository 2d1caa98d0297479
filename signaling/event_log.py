"""A lesson's event log: every envelope, numbered, in a Redis stream, so that a client can ask for what it missed.

Sequence numbers start at the epoch millisecond of the log's first event: should Redis ever lose the log in the
middle of a class, the new log's numbers still lie above every number a client has seen.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis

from signaling.protocol import Envelope

LOG_LENGTH = 20_000  # events kept per lesson: some hours of a class of fifty
LOG_TTL_S = 3 * 24 * 3600
_SEEN_LENGTH = 4000  # outbox ids remembered: far more than two relays can overlap by

# KEYS: seq, log, seen; ARGV: dedupe id, body, log length, seen length, ttl_s. Answers the event's number, which for
# an id seen before is the number it got then: the outbox is sent at least once, the log holds each row once.
_APPEND = """
local known = redis.call('ZSCORE', KEYS[3], ARGV[1])
if known then return tonumber(known) end
if redis.call('EXISTS', KEYS[1]) == 0 then
  local now = redis.call('TIME')
  redis.call('SET', KEYS[1], string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
end
local seq = redis.call('INCR', KEYS[1])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], string.format('%.0f-0', seq), 'e', ARGV[2])
redis.call('ZADD', KEYS[3], seq, ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -(tonumber(ARGV[4]) + 1))
for i = 1, 3 do redis.call('EXPIRE', KEYS[i], ARGV[5]) end
return seq
"""


class EventLog:
    def __init__(self, redis: Redis, *, prefix: str = "", length: int = LOG_LENGTH) -> None:
        self._redis = redis
        self._prefix = prefix
        self._length = length

    def _keys(self, lesson_id: str) -> list[str]:
        base = f"{self._prefix}lesson:{{{lesson_id}}}:"
        return [base + "seq", base + "log", base + "seen"]

    async def append(self, lesson_id: str, events: list[tuple[str, Envelope]]) -> list[int]:
        """Appends (dedupe id, envelope) in order; `seq` of the envelopes is ignored, the log's own is answered."""
        keys = self._keys(lesson_id)
        pipeline = self._redis.pipeline(transaction=False)
        for dedupe_id, envelope in events:
            body = envelope.model_dump_json(exclude={"seq"})
            pipeline.eval(_APPEND, 3, *keys, dedupe_id, body, self._length, _SEEN_LENGTH, LOG_TTL_S)
        return [int(seq) for seq in await pipeline.execute()]

    async def head(self, lesson_id: str) -> int:
        """The newest event's number; 0 for a log without events."""
        return int(await self._redis.get(self._keys(lesson_id)[0]) or 0)

    async def since(self, lesson_id: str, seq: int, *, until: int | None = None) -> list[Envelope]:
        """Every event with `seq` < number ≤ `until` (default: the newest) that the log still holds, oldest first."""
        last = "+" if until is None else f"{until}-0"
        if until is not None and until <= seq:
            return []
        entries = await self._redis.xrange(self._keys(lesson_id)[1], f"({max(seq, 0)}-0", last) or []
        return [envelope for entry in entries if (envelope := _envelope(entry)) is not None]

    async def wait(self, lesson_id: str, seq: int, *, block_ms: int, limit: int = 500) -> tuple[list[Envelope], int]:
        """Events after `seq`, waiting up to `block_ms` for the first, and the number to go on from.

        Occupies one connection while it waits.
        """
        answer = await self._redis.xread({self._keys(lesson_id)[1]: f"{seq}-0"}, count=limit, block=block_ms)
        entries = entries_of(answer)
        if not entries:
            return [], seq
        newest = int(entries[-1][0].split(b"-")[0])
        return [envelope for entry in entries if (envelope := _envelope(entry)) is not None], newest


def entries_of(answer: Any) -> list[Any]:
    """The entries of the one stream asked for; redis-py answers a list (RESP2) or a dict (RESP3)."""
    if not answer:
        return []
    return list(answer.values())[0][0] if isinstance(answer, dict) else answer[0][1]


def _envelope(entry: Any) -> Envelope | None:
    entry_id, fields = entry
    try:
        body = Envelope.model_validate_json(b'{"seq":' + entry_id.split(b"-")[0] + b"," + fields[b"e"][1:])
    except ValidationError:
        # Written by a newer version with another shape: the number is skipped, as if the event were for others.
        return None
    return body
