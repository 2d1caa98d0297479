"""One node's trunks: copies of publications that live on other nodes, and what it gives of its own to others.

Twice a second, and whenever a viewer wants something new, the node compares what its viewers' slots wait for with what
it has. For each other node that has some of it there is one wish, the whole list; that node gives exactly what the
list names and answers with the streams, so nothing has to be undone that was lost on its way.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from media.control_call import call
from media.errors import MediaError
from media.publication import Encoding
from media.rtp_parameters import Kind
from media.tokens import valid_name
from media.trunk import LinkSlot, Stream, Trunk

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from media.link import Link, Links
    from media.node import MediaNode
    from media.publication import Publication
    from media.router import MediaEvent, MediaRouter
    from media.whereabouts import Directory, Whereabouts

logger = logging.getLogger(__name__)

LOOK_S = 0.5
# A wish is said again this often: it is how a node notices that the other one has changed.
RENEW_S = 2.0
# After its last viewer a trunk stays for a moment: slots are often turned back and forth, and when a publication moves
# its old copy is shown until the new one's first key frame.
GRACE_S = 3.0
CLAIM_S = 1.0
# What a newer claim took elsewhere goes on here for a moment: viewers turn to the new one at its first key frame, and
# whoever counts what flows sees both at once.
LOST_S = 3.0
CALL_TIMEOUT_S = 2.0

Wish = dict[str, frozenset[Kind]]  # publication id → what of it


@dataclass(slots=True, eq=False)
class _Source:
    """Another node as far as this one has something from it."""

    trunks: dict[str, Trunk] = field(default_factory=dict)
    streams: dict[int, int] = field(default_factory=dict)  # SSRC → ingest id
    unwanted_since_s: dict[str, float] = field(default_factory=dict)
    wish: Wish = field(default_factory=dict)
    # What was last answered: the wish, the claims it rested on, over which link, when.
    said: tuple[Wish, dict[str, Whereabouts], Link, float] | None = None
    saying: asyncio.Task[None] | None = None


class Trunks:
    def __init__(
        self,
        node: MediaNode,
        router: MediaRouter,
        links: Links,
        directory: Directory,
        http: httpx.AsyncClient,
        secret: str,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._router = router
        self._links = links
        self._directory = directory
        self._http = http
        self._secret = secret
        self._clock_s = clock_s
        self._sources: dict[str, _Source] = {}
        self._found: dict[str, Whereabouts] = {}
        # By link: what is given over it.
        self._given: dict[Link, dict[tuple[str, Kind, str | None], tuple[LinkSlot, Stream]]] = {}
        self._numbers = 0
        # By session: since when its publication is claimed.
        self._claims: dict[str, int] = {}
        # By session: when it was seen that its publication is another node's now.
        self._lost: dict[str, float] = {}
        self._look_now, self._claim_now = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        links.on_closed = self._link_closed
        router.on_wanted = self._look_now.set

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._look_often()), asyncio.create_task(self._claim_often())]

    async def stop(self) -> None:
        tasks = [*self._tasks, *(source.saying for source in self._sources.values() if source.saying is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def told(self, event: MediaEvent) -> None:
        """The router's events: a publication that began or ended here changes whose it is."""
        if event.type in ("publication_started", "publication_ended"):
            self._claim_now.set()

    # Whose publication it is -----------------------------------------------------------------------------------------

    async def _claim_often(self) -> None:
        while True:
            try:
                await self.claim()
            except (RedisError, OSError) as error:
                logger.warning("publications not claimed: %s", error)
            await _wait(self._claim_now, CLAIM_S)

    async def claim(self) -> None:
        """Makes and renews the claims of what is published here; ends what a newer claim has taken elsewhere."""
        ours = {name: item.session_id for name, item in self._router.publications.items() if item.started}
        sessions = set(ours.values())
        self._claims = {session: since for session, since in self._claims.items() if session in sessions}
        self._lost = {session: at_s for session, at_s in self._lost.items() if session in sessions}
        now = await self._directory.claim({name: self._claims.get(session, 0) for name, session in ours.items()})
        for name, where in now.items():
            publication = self._router.publications.get(name)
            if publication is None or publication.session_id != ours[name]:
                continue  # ended or replaced while Redis was asked; the next round is about what is there now
            if where.node_id == self._node.node_id:
                self._claims[publication.session_id] = where.since_us
                self._lost.pop(publication.session_id, None)
            elif self._clock_s() - self._lost.setdefault(publication.session_id, self._clock_s()) >= LOST_S:
                self._router.end(publication, "moved")

    # What is wanted from others --------------------------------------------------------------------------------------

    async def _look_often(self) -> None:
        while True:
            try:
                await self.look()
            except (RedisError, OSError) as error:
                logger.warning("publications elsewhere not looked for: %s", error)
            await _wait(self._look_now, LOOK_S)

    async def look(self) -> None:
        """One comparison of what is wanted with what is there."""
        wanted = {name: kinds for name, kinds in self._router.wanted().items() if not self._is_here(name)}
        self._found = await self._directory.find(list(wanted))
        now_s = self._clock_s()
        wishes: dict[str, Wish] = {}
        for name, where in self._found.items():
            if where.node_id != self._node.node_id:
                wishes.setdefault(where.node_id, {})[name] = wanted[name]
        for node_id in wishes.keys() | self._sources.keys():
            source = self._sources.setdefault(node_id, _Source())
            source.wish = self._with_grace(source, wishes.get(node_id, {}), now_s)
            if self._is_due(node_id, source, now_s) and (source.saying is None or source.saying.done()):
                source.saying = asyncio.create_task(self._say(node_id, source))

    def _is_here(self, name: str) -> bool:
        publication = self._router.publications.get(name)
        return publication is not None and publication.session_id not in self._lost

    def _with_grace(self, source: _Source, wish: Wish, now_s: float) -> Wish:
        """The wish and whatever was wanted until just now. Kinds only grow: a stream is not stopped for one slot."""
        whole = dict(wish)
        for name, kinds in source.wish.items():
            if name in wish:
                source.unwanted_since_s.pop(name, None)
                whole[name] = wish[name] | kinds
            elif now_s - source.unwanted_since_s.setdefault(name, now_s) < GRACE_S:
                whole[name] = kinds
            else:
                del source.unwanted_since_s[name]
        return whole

    def _is_due(self, node_id: str, source: _Source, now_s: float) -> bool:
        if source.said is None:
            return bool(source.wish)
        wish, found, link, at_s = source.said
        if wish != source.wish or self._links.live(node_id) is not link:
            return True
        return bool(wish) and (found != self._claims_of(wish) or now_s - at_s >= RENEW_S)

    def _claims_of(self, wish: Wish) -> dict[str, Whereabouts]:
        return {name: self._found[name] for name in wish if name in self._found}

    async def _say(self, node_id: str, source: _Source) -> None:
        peer = next((node for node in self._node.nodes if node.node_id == node_id), None)
        wish = source.wish
        try:
            if peer is None:
                raise MediaError("no_node", node_id)
            found = self._claims_of(wish)
            link = await self._links.to(peer)
            body = {
                "node_id": self._node.node_id,
                "link_id": link.link_id,
                "wish": {name: sorted(kinds) for name, kinds in wish.items()},
            }
            answer = await call(self._http, self._secret, peer.control_url, "POST", "trunk", body, CALL_TIMEOUT_S)
            streams = answer.get("streams")
            if not isinstance(streams, dict):
                raise MediaError("bad_request", "streams")
            given = {name: [Stream.read_untrusted(item) for item in streams.get(name, [])] for name in wish}
        except MediaError as error:
            if error.code == "no_link":
                # The other end has lost it (it may be another process by now); this end's is of no use either.
                self._links.close(node_id, "lost")
            logger.warning("nothing from node %s: %s", node_id, error)
            if peer is None and self._links.live(node_id) is None:
                self._forget(source)
            return
        if link.closed:
            return
        source.said = (wish, found, link, self._clock_s())
        self._take(source, link, given)

    def _take(self, source: _Source, link: Link, given: dict[str, list[Stream]]) -> None:
        """Makes what is here the same as what is given."""
        keep = {stream.ssrc for streams in given.values() for stream in streams}
        stale = {ssrc: ingest_id for ssrc, ingest_id in source.streams.items() if ssrc not in keep}
        changed: list[Trunk] = []
        for name, streams in given.items():
            trunk = source.trunks.get(name)
            before = {item.ssrc: item for item in trunk.encodings} if trunk is not None else {}
            if not streams or set(before) == {stream.ssrc for stream in streams}:
                continue
            trunk = source.trunks[name] = trunk or Trunk(name, link.peer_id)
            trunk.encodings = [before.get(stream.ssrc) or self._add(source, link, stream) for stream in streams]
            changed.append(trunk)
        for name in [name for name in source.trunks if not given.get(name)]:
            self._drop(source.trunks.pop(name))
        for trunk in changed:
            self._router.add_trunk(trunk)
        for ssrc, ingest_id in stale.items():
            del source.streams[ssrc]
            self._router.native.remove_ingest(ingest_id)

    def _add(self, source: _Source, link: Link, stream: Stream) -> Encoding:
        ingest_id = source.streams[stream.ssrc] = self._router.new_id()
        self._router.native.add_ingest(ingest_id, link.transport_id, stream.ingest())
        return Encoding(stream.kind, stream.mid, stream.rid, ingest_id, stream.ssrc)

    def _drop(self, trunk: Trunk) -> None:
        """Another node's copy of the same publication takes its place where there is one."""
        self._router.remove_trunk(trunk)
        for source in self._sources.values():
            if (other := source.trunks.get(trunk.id)) is not None and other is not trunk:
                self._router.add_trunk(other)

    def _forget(self, source: _Source) -> None:
        """What came over a link that is gone went with it."""
        for name in list(source.trunks):
            self._drop(source.trunks.pop(name))
        source.streams.clear()
        source.said = None

    def _link_closed(self, link: Link) -> None:
        for slot, _ in self._given.pop(link, {}).values():
            self._router.unwatch_link(slot)
        if (source := self._sources.get(link.peer_id)) is not None:
            self._forget(source)
        self._look_now.set()

    # What others are given -------------------------------------------------------------------------------------------

    def give(self, node_id: str, link_id: str, wish: Wish) -> dict[str, list[Stream]]:
        """Sends exactly this to that node from now on; answers its streams. MediaError `no_link`."""
        link = self._links.live(node_id)
        if link is None or link.link_id != link_id:
            raise MediaError("no_link", link_id)
        given = self._given.setdefault(link, {})
        answer: dict[str, list[Stream]] = {}
        keep = set()
        for name, kinds in wish.items():
            publication = self._router.publications.get(name)
            if publication is None:
                continue
            answer[name] = []
            for encoding in _offered(publication, kinds):
                key = (name, encoding.kind, encoding.rid)
                keep.add(key)
                if key not in given:
                    given[key] = self._give(link, name, encoding)
                answer[name].append(given[key][1])
        for key in [key for key in given if key not in keep]:
            slot, _ = given.pop(key)
            self._router.unwatch_link(slot)
            if slot.slot_id is not None:
                self._router.native.remove_slot(slot.slot_id)
        return answer

    def _give(self, link: Link, name: str, encoding: Encoding) -> tuple[LinkSlot, Stream]:
        self._numbers += 1
        rtx_ssrc = secrets.randbits(31) + 1 if encoding.kind is Kind.VIDEO else None
        stream = Stream(encoding.kind, encoding.rid, f"t{self._numbers}", secrets.randbits(31) + 1, rtx_ssrc)
        slot = LinkSlot(f"{link.peer_id}/{stream.mid}", encoding.kind, name, 0, rid=encoding.rid, mid=stream.mid)
        slot.slot_id, slot.ssrc = self._router.new_id(), stream.ssrc
        self._router.native.add_slot(slot.slot_id, link.transport_id, stream.slot())
        self._router.watch_link(slot)
        return slot, stream

    def snapshot(self) -> dict[str, object]:
        return {
            "links": self._links.snapshot(),
            "taken": [trunk.snapshot() for source in self._sources.values() for trunk in source.trunks.values()],
            "given": [
                {"node_id": link.peer_id, "publication_id": slot.source, "slot_id": slot.slot_id, **stream.to_dict()}
                for link, given in self._given.items()
                for slot, stream in given.values()
            ],
        }


def read_wish_untrusted(value: object) -> Wish:
    """MediaError `bad_request` and nothing else."""
    if not isinstance(value, dict) or not all(valid_name(name) for name in value):
        raise MediaError("bad_request", "wish maps publication ids to kinds")
    try:
        return {name: frozenset(Kind(kind) for kind in kinds) for name, kinds in value.items()}
    except (TypeError, ValueError):
        raise MediaError("bad_request", "a kind is audio or video") from None


def _offered(publication: Publication, kinds: frozenset[Kind]) -> list[Encoding]:
    """What slots can show of it: per kind the encodings of its first m-line."""
    offered: list[Encoding] = []
    for kind in Kind:
        of_kind = [item for item in publication.encodings if item.kind is kind and kind in kinds]
        offered += [item for item in of_kind if item.mid == of_kind[0].mid]
    return offered


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
    event.clear()
