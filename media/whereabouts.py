"""Which node has which publication: a key each in Redis, renewed by the node that has it.

The newest claim holds. A publisher that moves is claimed by its new node once it is connected there, and the old node,
seeing that, lets go of what it has: at no moment is a publication nowhere, and never for long in two places.
"""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from media.keys import NODE_TTL_MS, MediaKeys


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """`since_us` orders the claims of one publication, by Redis's own clock: the nodes' clocks need not agree."""

    node_id: str
    since_us: int


# KEYS: publication; ARGV: node, since_us ("0": a new claim), ttl_ms. Answers the claim that holds now.
_CLAIM = """
local held = redis.call('GET', KEYS[1])
local since, node = 0, ''
if held then
  since, node = string.match(held, '^(%d+) (.+)$')
  since = tonumber(since)
end
local mine = tonumber(ARGV[2])
if mine == 0 then
  local now = redis.call('TIME')
  mine = math.max(now[1] * 1000000 + now[2], since + 1)
elseif node ~= ARGV[1] and since > mine then
  return held
end
local text = string.format('%.0f', mine) .. ' ' .. ARGV[1]
redis.call('SET', KEYS[1], text, 'PX', ARGV[3])
return text
"""

# KEYS: publication; ARGV: node. Removes the claim if it is this node's.
_RELEASE = """
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^%d+ (.+)$') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Directory:
    """The claims as one node makes and reads them. RedisError or OSError when Redis is away."""

    def __init__(self, redis: Redis, keys: MediaKeys, node_id: str) -> None:
        self._redis = redis
        self._keys = keys
        self._node_id = node_id

    async def claim(self, since_us: dict[str, int]) -> dict[str, Whereabouts]:
        """Makes (0) or renews claims: publication id → since when it is ours; answers whose each is now."""
        if not since_us:
            return {}
        async with self._redis.pipeline(transaction=False) as pipe:
            for publication_id, since in since_us.items():
                pipe.eval(_CLAIM, 1, self._keys.publication(publication_id), self._node_id, since, NODE_TTL_MS)
            answers = await pipe.execute()
        return {name: _read(answer) for name, answer in zip(since_us, answers, strict=True)}

    async def release(self, publication_id: str) -> None:
        await self._redis.eval(_RELEASE, 1, self._keys.publication(publication_id), self._node_id)

    async def find(self, publication_ids: list[str]) -> dict[str, Whereabouts]:
        """Those that some node has."""
        if not publication_ids:
            return {}
        held = await self._redis.mget([self._keys.publication(name) for name in publication_ids])
        return {name: _read(text) for name, text in zip(publication_ids, held, strict=True) if text}


def _read(text: bytes | str) -> Whereabouts:
    since, _, node_id = (text.decode() if isinstance(text, bytes) else text).partition(" ")
    return Whereabouts(node_id, int(since))
