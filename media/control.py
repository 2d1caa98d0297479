"""The typed client of media nodes' control API: what the lesson's side asks of packets, over HTTP.

Light to import: it knows no codec, no socket and no SDP.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError

from media.control_call import call
from media.errors import MediaError
from media.frame import EncodedFrame
from media.keys import ENDED_TTL_S, NODE_TTL_MS, MediaKeys
from media.placement import choose
from media.registry import NodeInfo, Registry
from media.room import RoomSource

REQUEST_TIMEOUT_S = 2.0
ALIVE_TIMEOUT_S = 1.0
# How long a list of nodes is believed; a node that died is missed from Redis after NODE_TTL_MS anyway.
NODES_AGE_S = 0.5


@dataclass(frozen=True, slots=True)
class Flow:
    """What one encoding of a publication has brought so far. `last_packet_age_ms` is None before its first packet."""

    publication_id: str
    holder: str
    seat: str
    room: str
    kind: str
    rid: str | None
    packets: int
    payload_bytes: int
    last_packet_age_ms: int | None
    node_id: str


class MediaControl:
    """Asks every live node, since a publication may be on any. Raises MediaError only.

    `no_node` means that none is alive or that Redis, which knows them, is away.
    """

    def __init__(
        self, redis: Redis, control_secret: str, http: httpx.AsyncClient | None = None, *, prefix: str = ""
    ) -> None:
        self._redis = redis
        self._keys = MediaKeys(prefix)
        self._secret = control_secret
        self._http = http or httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S, trust_env=False)
        self._owns_http = http is None
        self._registry = Registry(redis, self._keys)
        self._nodes: list[NodeInfo] = []
        self._nodes_until = 0.0
        # By node and room: sessions sent there since the node's last heartbeat, which says what it has.
        self._on_the_way: Counter[tuple[str, str | None]] = Counter()
        # Nodes that did not answer, with the heartbeat until which they are believed dead.
        self._mute: dict[str, int] = {}

    async def close(self) -> None:
        if self._owns_http:
            await self._http.aclose()

    async def nodes(self) -> list[NodeInfo]:
        """Every live node, the longest running first. MediaError `no_node` only when Redis is away."""
        now_s = time.monotonic()
        if now_s < self._nodes_until:
            return self._nodes
        try:
            found = await self._registry.nodes()
        except (RedisError, OSError) as error:
            raise MediaError("no_node", f"Redis is away: {error}") from error
        beats = {node.node_id: node.beat_ms for node in self._nodes}
        still = {node.node_id for node in found if node.beat_ms == beats.get(node.node_id)}
        self._on_the_way = Counter({key: count for key, count in self._on_the_way.items() if key[0] in still})
        self._mute = {n.node_id: n.beat_ms for n in found if self._mute.get(n.node_id) == n.beat_ms}
        self._nodes = found
        # That there is none is not believed for a moment: whoever waits for the first node finds it when it is there.
        self._nodes_until = now_s + NODES_AGE_S if found else 0.0
        return found

    async def node(self, room: str | None = None) -> NodeInfo:
        """The node that a new session of this room goes to. MediaError `no_node`."""
        nodes = await self.nodes()
        # One that just did not answer is dead until it gives a sign of life; if none answers, all are worth a try.
        chosen = choose([node for node in nodes if node.node_id not in self._mute] or nodes, room, self._on_the_way)
        if chosen is None:
            raise MediaError("no_node", f"no heartbeat within {NODE_TTL_MS} ms")
        self._on_the_way[chosen.node_id, room] += 1
        return chosen

    async def is_alive(self, node: NodeInfo) -> bool:
        """Whether it answers at all, whatever the registry says."""
        try:
            await self._http.get(f"{node.control_url}/healthz", timeout=ALIVE_TIMEOUT_S)
        except httpx.HTTPError:
            return False
        return True

    async def drain(self, node_id: str, draining: bool = True) -> None:
        """Tells a node to take nothing new and to be left by whom it has, or the opposite. MediaError `no_node`."""
        for node in await self.nodes():
            if node.node_id == node_id:
                await self._ask(node, "POST", "drain", {"draining": draining})
                self._nodes_until = 0.0
                return
        raise MediaError("no_node", node_id)

    async def tap(self, publication_id: str, deadline_ms: int = 1500) -> EncodedFrame:
        """The next intra frame of a publication's video, asked for now.

        MediaError `no_publication`, `no_video`, `no_keyframe`, `unknown_payload`, `no_node`.
        """
        body = {"publication_id": publication_id, "deadline_ms": deadline_ms}
        answer = await self._ask_first("tap", body, absent="no_publication", extra_s=deadline_ms / 1000)
        try:
            data = base64.b64decode(answer.pop("data"), validate=True)
            return EncodedFrame(data=data, **answer)
        except (KeyError, TypeError, binascii.Error) as error:
            raise MediaError("control_refused", f"malformed tap: {error}") from error

    async def show(
        self, subscription_id: str, slots: dict[str, str | None], heights: dict[str, int | None] | None = None
    ) -> dict[str, Any]:
        """Routes slots: slot name → publication id or None. The publication may come later. `heights`: slot name → px
        that the page shows, None any; slots not named keep theirs. Answers what all slots show now. MediaError
        `no_subscription`, `no_slot`, `no_node`."""
        body = {"subscription_id": subscription_id, "slots": slots, "heights": heights or {}}
        # While a viewer moves between two nodes both have the subscription.
        answers = await self._ask_each("show", body, absent="no_subscription")
        return dict(answers[-1]["slots"])

    async def show_room(self, room: str, slots: dict[str, RoomSource], at_ms: int) -> int:
        """Routes the slots of these names in every subscription of a room, those that come later included; how many
        slots turned now. One request a node, however many viewers. `at_ms` orders it against tokens and other words.
        MediaError `no_node` only when Redis is away: a node that starts later takes its viewers' fresh tokens."""
        body = {"room": room, "slots": {name: asdict(source) for name, source in slots.items()}, "at_ms": at_ms}
        return sum(int(answer["turned"]) for _, answer in await self._ask_all("POST", "room", body))

    async def end_publication(self, publication_id: str, at_ms: int) -> int:
        """Ends a publication on every node and refuses the tokens for it that were made until `at_ms`."""
        await self._remember(self._keys.ended_publication(publication_id), str(at_ms))
        return await self._end({"publication_id": publication_id, "at_ms": at_ms})

    async def end_seat(self, seat_id: str) -> int:
        """Ends a seat's sessions on every node and refuses its tokens from then on; how many sessions there were."""
        await self._remember(self._keys.ended_seat(seat_id), "1")
        return await self._end({"seat": seat_id})

    async def end_holder(self, holder: str, keep_seat: str | None = None) -> int:
        """Ends a holder's sessions but those of `keep_seat`, and refuses the tokens that the holder has had so far."""
        at_ms = time.time_ns() // 1_000_000
        await self._remember(self._keys.ended_holder(holder), json.dumps({"at_ms": at_ms, "keep_seat": keep_seat}))
        return await self._end({"holder": holder, "keep_seat": keep_seat, "at_ms": at_ms})

    async def flows(self) -> list[Flow]:
        """What every publication has brought so far, over all nodes."""
        answers = await self._ask_all("GET", "flows")
        return [Flow(**flow, node_id=node.node_id) for node, answer in answers for flow in answer["flows"]]

    async def snapshot(self) -> dict[str, Any]:
        """Everything that every node says about itself, by node id."""
        return {node.node_id: answer for node, answer in await self._ask_all("GET", "snapshot")}

    async def overview(self) -> dict[str, dict[str, Any]]:
        """What operators look at, by node id (`media.overview`); nodes that do not answer are left out."""
        return {node.node_id: answer for node, answer in await self._ask_all("GET", "overview")}

    async def _remember(self, key: str, value: str) -> None:
        try:
            await self._redis.set(key, value, ex=ENDED_TTL_S)
        except (RedisError, OSError) as error:
            raise MediaError("no_node", f"Redis is away: {error}") from error

    async def _end(self, body: dict[str, Any]) -> int:
        answers = await self._ask_all("POST", "end", body)
        return sum(int(answer["ended"]) for _, answer in answers)

    async def _ask_first(self, path: str, body: dict[str, Any], *, absent: str, extra_s: float = 0.0) -> dict[str, Any]:
        """The answer of the node that has it: nodes that say `absent` are passed over."""
        refusal = MediaError("no_node", f"no heartbeat within {NODE_TTL_MS} ms")
        for node in await self.nodes():
            try:
                return await self._ask(node, "POST", path, body, extra_s)
            except MediaError as error:
                refusal = _weightier(refusal, error, absent)
        raise refusal

    async def _ask_each(self, path: str, body: dict[str, Any], *, absent: str) -> list[dict[str, Any]]:
        """The answers of all nodes that have it, at least one, those of draining nodes first."""
        nodes = sorted(await self.nodes(), key=lambda node: not node.draining)
        refusal = MediaError("no_node", f"no heartbeat within {NODE_TTL_MS} ms")
        answers: list[dict[str, Any]] = []
        for asked in await asyncio.gather(
            *(self._ask(node, "POST", path, body) for node in nodes), return_exceptions=True
        ):
            if isinstance(asked, MediaError):
                refusal = _weightier(refusal, asked, absent)
            elif isinstance(asked, BaseException):
                raise asked
            else:
                answers.append(asked)
        if not answers:
            raise refusal
        return answers

    async def _ask_all(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> list[tuple[NodeInfo, dict[str, Any]]]:
        nodes = await self.nodes()

        async def ask(node: NodeInfo) -> dict[str, Any] | None:
            try:
                return await self._ask(node, method, path, body)
            except MediaError as error:
                # A node that died within the last heartbeat's time has nothing to say and nothing left to end.
                if error.code != "no_node":
                    raise
                return None

        answers = await asyncio.gather(*map(ask, nodes))
        return [(node, answer) for node, answer in zip(nodes, answers, strict=True) if answer is not None]

    async def _ask(
        self, node: NodeInfo, method: str, path: str, body: dict[str, Any] | None = None, extra_s: float = 0.0
    ) -> dict[str, Any]:
        timeout_s = REQUEST_TIMEOUT_S + extra_s
        try:
            return await call(self._http, self._secret, node.control_url, method, path, body, timeout_s)
        except MediaError as error:
            if error.code == "no_node":
                self._nodes_until = 0.0
                self._mute[node.node_id] = node.beat_ms
            raise


def _weightier(before: MediaError, error: MediaError, absent: str) -> MediaError:
    """What is to be raised when no node has it. Raises at once what is neither absence nor a node that is gone."""
    if error.code not in (absent, "no_node"):
        raise error
    # One live node that does not have it says more than another that is gone.
    return before if before.code == absent else error
