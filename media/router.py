"""The router of one node: creates transports, publications and subscriptions, and feeds the native route table."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from media.dtls import NodeCertificate
from media.errors import MediaError
from media.frame import EncodedFrame
from media.goodbyes import Goodbyes
from media.heap import Heap
from media.keyframe import assemble_untrusted
from media.publication import Encoding, Publication, plan_ingests
from media.room import RoomRoute, Rooms, RoomSource
from media.rtp_parameters import Kind, Offer
from media.sdp import parse_offer_untrusted
from media.sdp_answer import write_answer
from media.sdp_fragment import write_fragment
from media.subscription import PlannedSlot, Slot, Subscription, plan_slots
from media.tokens import Claims
from media.transport import Transport, ice_credentials
from media.trunk import LinkSlot, Trunk

if TYPE_CHECKING:
    from media._router import Event
    from media._router import Router as NativeRouter

logger = logging.getLogger(__name__)

Session = Publication | Subscription

# A peer that has an answer and does not finish ICE and DTLS by then will not: browsers give up at 15..30 s.
HANDSHAKE_TIMEOUT_S = 15.0
SESSION_ID_BYTES = 16
EVENTS_PER_DRAIN = 256


@dataclass(frozen=True, slots=True)
class MediaEvent:
    """Something that the lesson's side wants to know. `type` is one of `publication_started`, `publication_ended`,
    `subscription_started`, `subscription_ended`, `speaking` (a publication's sound; `reason` is `began` or `stopped`),
    `node_started`, `node_gone`."""

    type: str
    id: str
    holder: str
    seat: str
    room: str
    at_ms: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that has its answer: the SDP text, the session's id in URLs, and its entity tag."""

    session_id: str
    answer: str
    etag: str


def wall_clock_ms() -> int:
    """Unix epoch milliseconds."""
    return time.time_ns() // 1_000_000


class MediaRouter:
    """One per node. Everything here runs on one event loop; the packets run elsewhere."""

    def __init__(
        self,
        native: NativeRouter,
        candidates: tuple[tuple[str, int], ...],
        *,
        tcp: bool = False,
        on_event: Callable[[MediaEvent], None],
        max_sessions: int = 4000,
        handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self.native = native
        self.publications: dict[str, Publication] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.sessions: dict[str, Session] = {}
        self.counters = {
            "publications_begun": 0,
            "subscriptions_begun": 0,
            "taps": 0,
            "taps_failed": 0,
            "ice_restarts": 0,
        }
        self.candidates = candidates
        self._tcp = tcp
        # By publication id: copies that came over a link from another node.
        self.trunks: dict[str, Trunk] = {}
        self.on_wanted: Callable[[], None] = lambda: None
        # Transports that are no session's hear of their end here.
        self.on_transport_closed: dict[int, Callable[[str], None]] = {}
        self._on_event = on_event
        self._max_sessions = max_sessions
        self._handshake_timeout_s = handshake_timeout_s
        self._clock_ms = clock_ms
        self._certificate = NodeCertificate.generateCertificate()
        self._ids = count(1)
        self._transports: dict[int, Transport] = {}
        self._patience: dict[int, asyncio.TimerHandle] = {}
        self._encodings: dict[int, tuple[Publication | Trunk, Encoding]] = {}
        self._waiting: dict[str, list[Slot]] = {}
        self._rooms = Rooms()
        self._goodbyes = Goodbyes(native)
        self._heap = Heap()
        self._taps: dict[int, asyncio.Future[tuple[object, ...]]] = {}
        self._loop = asyncio.get_running_loop()
        self._event_fd = native.event_fd()
        self._loop.add_reader(self._event_fd, self._drain)

    # Sessions ------------------------------------------------------------------------------------------------------

    def publish(self, claims: Claims, offer_data: bytes) -> Begun:
        """Begins a publication; an earlier one of the same id is replaced (its encoder reconnects). MediaError."""
        offer = parse_offer_untrusted(offer_data)
        planned = plan_ingests(offer)
        earlier = self.publications.get(claims.id)
        self._make_room(earlier)
        if earlier is not None:
            self.end(earlier, "replaced")
        session_id = secrets.token_urlsafe(SESSION_ID_BYTES)
        transport = self._transport(session_id, offer)
        publication = Publication(claims, session_id, transport, self.native, self._tap)
        for line, rid, parameters in planned:
            ingest_id = next(self._ids)
            self.native.add_ingest(ingest_id, transport.transport_id, parameters)
            encoding = Encoding(Kind(line.kind), line.mid, rid, ingest_id)
            publication.encodings.append(encoding)
            self._encodings[ingest_id] = (publication, encoding)
        self.sessions[session_id] = self.publications[claims.id] = publication
        self.counters["publications_begun"] += 1
        self._route_waiting(claims.id)
        answer = write_answer(offer, transport.local(self.candidates, tcp=self._tcp), transport.transport_id, 1)
        return Begun(session_id, answer, _etag(transport))

    def play(self, claims: Claims, offer_data: bytes) -> Begun:
        """Begins a subscription; an earlier one of the same id is replaced. MediaError."""
        offer = parse_offer_untrusted(offer_data)
        planned = plan_slots(offer, claims.slots, lambda: secrets.randbits(31) + 1)
        earlier = self.subscriptions.get(claims.id)
        self._make_room(earlier)
        slots = [
            Slot(claim.name, Kind(claim.kind), claim.source, claims.made_at_ms, height_px=claim.height_px)
            for claim in claims.slots
        ]
        if earlier is not None:
            # The later word wins: a viewer that comes back with its old token sees what its slots were told since.
            for slot in slots:
                told = earlier.slots.get(slot.name)
                if told is None or told.kind is not slot.kind:
                    continue
                slot.height_px = told.height_px
                if told.told_at_ms > slot.told_at_ms:
                    slot.source, slot.told_at_ms = told.source, told.told_at_ms
            self.end(earlier, "replaced")
        routes = self._rooms.routes(claims.room, (slot.name for slot in slots))
        for slot in slots:
            if (route := routes.get(slot.name)) is not None and route.outranks(slot.told_at_ms):
                slot.source, slot.told_at_ms = route.source.for_holder(claims.holder), route.told_at_ms
        session_id = secrets.token_urlsafe(SESSION_ID_BYTES)
        transport = self._transport(session_id, offer, self._goodbyes)
        subscription = Subscription(claims, session_id, transport, {slot.name: slot for slot in slots})
        for item in planned:
            self._add_slot(subscription.slots[item.name], transport.transport_id, item)
        self.sessions[session_id] = self.subscriptions[claims.id] = subscription
        self.counters["subscriptions_begun"] += 1
        for slot in slots:
            self._watch(slot)
        sending = {item.line.index: item.sending for item in planned}
        answer = write_answer(
            offer, transport.local(self.candidates, tcp=self._tcp), transport.transport_id, 1, sending
        )
        return Begun(session_id, answer, _etag(transport))

    def etag_of(self, session: Session) -> str:
        return _etag(session.transport)

    def restart_ice(self, session: Session, remote_ufrag: str) -> str:
        """Gives a session new ICE credentials; our half as an SDP fragment. Its entity tag is another one now."""
        transport = session.transport
        transport.restart_ice(remote_ufrag)
        self.counters["ice_restarts"] += 1
        return write_fragment(transport.local(self.candidates, tcp=self._tcp), *transport.tagged_line)

    @contextmanager
    def checkable(self) -> Iterator[tuple[str, str]]:
        """ICE credentials (ufrag, pwd) whose connectivity checks are answered while the block runs; nothing else is."""
        transport_id, ufrag, pwd = next(self._ids), *ice_credentials()
        self.native.add_transport(transport_id, ufrag, pwd)
        try:
            yield ufrag, pwd
        finally:
            self.native.remove_transport(transport_id)

    def end(self, session: Session, reason: str) -> None:
        """Ends a session; its `…_ended` event says why."""
        session.transport.close(reason)

    def end_all(self, wanted: Callable[[Claims], bool], reason: str) -> int:
        """Ends every session whose claims are wanted; how many there were."""
        ended = [session for session in self.sessions.values() if wanted(session.claims)]
        for session in ended:
            self.end(session, reason)
        return len(ended)

    def _make_room(self, earlier: Session | None) -> None:
        # Whoever comes back gives up the session that is replaced, so a full node still takes them.
        if earlier is None and len(self.sessions) >= self._max_sessions:
            raise MediaError("node_full", f"{len(self.sessions)} sessions")

    def _transport(self, session_id: str, offer: Offer, goodbyes: Goodbyes | None = None) -> Transport:
        transport_id = next(self._ids)
        transport = Transport(
            self.native,
            transport_id,
            self._certificate,
            offer,
            on_connected=lambda: self._connected(session_id),
            on_closed=lambda reason: self._closed(session_id, transport_id, reason),
            on_forgotten=self._heap.freed,
            goodbyes=goodbyes,
        )
        self._transports[transport_id] = transport
        self._patience[transport_id] = self._loop.call_later(self._handshake_timeout_s, self._give_up, transport_id)
        return transport

    def _give_up(self, transport_id: int) -> None:
        transport = self._transports.get(transport_id)
        if transport is not None:
            transport.close("handshake_timeout")

    def _connected(self, session_id: str) -> None:
        session = self.sessions[session_id]
        self._patience.pop(session.transport.transport_id).cancel()
        session.started = True
        self._tell(session, "started", "")

    def _closed(self, session_id: str, transport_id: int, reason: str) -> None:
        self._transports.pop(transport_id, None)
        if (timer := self._patience.pop(transport_id, None)) is not None:
            timer.cancel()
        session = self.sessions.pop(session_id, None)
        if isinstance(session, Publication):
            if self.publications.get(session.id) is session:
                del self.publications[session.id]
            for encoding in session.encodings:
                self._encodings.pop(encoding.ingest_id, None)
            self._route_waiting(session.id)
            for encoding in session.encodings:
                self.native.remove_ingest(encoding.ingest_id)
        elif isinstance(session, Subscription):
            if self.subscriptions.get(session.id) is session:
                del self.subscriptions[session.id]
            for slot in session.slots.values():
                self._unwatch(slot)
        if session is not None:
            self._tell(session, "ended", reason)

    def _tell(self, session: Session, what: str, reason: str) -> None:
        noun = "publication" if isinstance(session, Publication) else "subscription"
        claims = session.claims
        logger.info("%s %s %s holder=%s %s", noun, claims.id, what, claims.holder, reason)
        event = MediaEvent(
            f"{noun}_{what}", claims.id, claims.holder, claims.seat, claims.room, self._clock_ms(), reason
        )
        self._on_event(event)

    # Routes --------------------------------------------------------------------------------------------------------

    def show(
        self, subscription_id: str, wanted: dict[str, str | None], heights: dict[str, int | None] | None = None
    ) -> dict[str, dict[str, object]]:
        """Changes what slots show: slot name → publication id, or None for nothing; and how high the page shows them:
        slot name → px, or None for any height. MediaError `no_subscription`, `no_slot`; then nothing was changed."""
        heights = heights or {}
        subscription = self.subscriptions.get(subscription_id)
        if subscription is None:
            raise MediaError("no_subscription", subscription_id)
        for name in [*wanted, *heights]:
            if name not in subscription.slots:
                raise MediaError("no_slot", name)
        for name, source in wanted.items():
            self._turn(subscription.slots[name], source, self._clock_ms())
        for name, height_px in heights.items():
            slot = subscription.slots[name]
            slot.height_px = height_px
            if slot.slot_id is not None:
                self.native.limit_slot(slot.slot_id, height_px)
        return subscription.shown()

    def show_room(self, room: str, wanted: dict[str, RoomSource], told_at_ms: int) -> int:
        """Changes what the slots of these names show in every subscription of a room, now and later; how many slots
        there were. `told_at_ms` is the teller's clock, as in tokens: the newest word wins."""
        news = self._rooms.tell(room, wanted, told_at_ms)
        turned = 0
        for subscription in self.subscriptions.values():
            if subscription.claims.room == room:
                turned += self._follow(subscription, news)
        return turned

    def _follow(self, subscription: Subscription, news: dict[str, RoomRoute]) -> int:
        turned = 0
        for name, route in news.items():
            slot = subscription.slots.get(name)
            if slot is not None and route.outranks(slot.told_at_ms):
                self._turn(slot, route.source.for_holder(subscription.claims.holder), route.told_at_ms)
                turned += 1
        return turned

    def _turn(self, slot: Slot, source: str | None, told_at_ms: int) -> None:
        slot.told_at_ms = told_at_ms
        if source == slot.source:
            return
        self._unwatch(slot)
        slot.source = source
        self._watch(slot)

    def new_id(self) -> int:
        """An id for whatever is ordered of the native router."""
        return next(self._ids)

    def wanted(self) -> dict[str, frozenset[Kind]]:
        """What viewers' slots show or wait for: publication id → kinds."""
        wanted: dict[str, frozenset[Kind]] = {}
        for source, slots in self._waiting.items():
            kinds = {slot.kind for slot in slots if slot.slot_id is not None and not isinstance(slot, LinkSlot)}
            if kinds:
                wanted[source] = frozenset(kinds)
        return wanted

    def add_trunk(self, trunk: Trunk) -> None:
        """Viewers' slots show this copy from its next key frame on, unless the publication itself is here."""
        self.trunks[trunk.id] = trunk
        for encoding in trunk.encodings:
            self._encodings[encoding.ingest_id] = (trunk, encoding)
        self._route_waiting(trunk.id)

    def remove_trunk(self, trunk: Trunk) -> None:
        for encoding in trunk.encodings:
            self._encodings.pop(encoding.ingest_id, None)
        if self.trunks.get(trunk.id) is trunk:
            del self.trunks[trunk.id]
            self._route_waiting(trunk.id)

    def watch_link(self, slot: LinkSlot) -> None:
        self._watch(slot)

    def unwatch_link(self, slot: LinkSlot) -> None:
        self._unwatch(slot)

    def _add_slot(self, slot: Slot, transport_id: int, item: PlannedSlot) -> None:
        slot.slot_id = next(self._ids)
        slot.mid, slot.ssrc = item.line.mid, item.sending.ssrc
        self.native.add_slot(slot.slot_id, transport_id, item.parameters)
        if slot.height_px is not None:
            self.native.limit_slot(slot.slot_id, slot.height_px)

    def _watch(self, slot: Slot) -> None:
        """Routes a slot now, and again whenever its source appears or disappears."""
        if slot.source is not None:
            self._waiting.setdefault(slot.source, []).append(slot)
            if slot.source not in self.publications:
                self.on_wanted()
        self._route(slot)

    def _unwatch(self, slot: Slot) -> None:
        slots = self._waiting.get(slot.source) if slot.source is not None else None
        if slots is not None and slot in slots:
            slots.remove(slot)
            if not slots:
                del self._waiting[slot.source or ""]

    def _route_waiting(self, publication_id: str) -> None:
        for slot in self._waiting.get(publication_id, ()):
            self._route(slot)

    def _route(self, slot: Slot) -> None:
        ingest_ids = self._shown_by(slot)
        if slot.slot_id is not None and slot.ingest_ids != ingest_ids:
            slot.ingest_ids = ingest_ids
            self.native.route(slot.slot_id, ingest_ids)

    def _shown_by(self, slot: Slot) -> list[int]:
        publication = self.publications.get(slot.source or "")
        if isinstance(slot, LinkSlot):
            return publication.ingest_with(slot.kind, slot.rid) if publication is not None else []
        shown = publication or self.trunks.get(slot.source or "")
        return shown.ingests_of(slot.kind) if shown is not None else []

    # Native events -------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        while events := self.native.drain_events(EVENTS_PER_DRAIN):
            for event in events:
                self._handle(event)
            if len(events) < EVENTS_PER_DRAIN:
                return

    def _handle(self, event: Event) -> None:
        match event:
            case ("dtls", int(transport_id), bytes(datagram)):
                if (transport := self._transports.get(transport_id)) is not None:
                    transport.feed(datagram)
            case ("ice", int(transport_id), str(ip), int(port)):
                if (transport := self._transports.get(transport_id)) is not None:
                    transport.checked(ip, port)
            case ("closed", int(transport_id), str(reason)):
                if (transport := self._transports.get(transport_id)) is not None:
                    transport.close("consent_expired" if reason == "consent" else reason)
                elif (closed := self.on_transport_closed.pop(transport_id, None)) is not None:
                    closed(reason)
            case ("ingest_started", int(ingest_id), ssrc, codec):
                self._ingest_started(ingest_id, ssrc, codec)
            case ("speaking", int(ingest_id), bool(is_speaking)):
                self._speaking(ingest_id, is_speaking)
            case ("keyframe" | "tap_failed", int(tap_id), *_):
                future = self._taps.pop(tap_id, None)
                if future is not None and not future.done():
                    future.set_result(event)
            case ("routed", *_):
                logger.debug("slot %s shows ingest %s", event[1], event[2])
            case _:
                raise AssertionError(f"the router told something unknown: {event!r}")

    def _ingest_started(self, ingest_id: int, ssrc: object, codec: object) -> None:
        found = self._encodings.get(ingest_id)
        if found is None:
            return
        publication, encoding = found
        encoding.flowing = True
        encoding.ssrc = ssrc if isinstance(ssrc, int) else None
        encoding.codec = str(codec) if codec is not None else None
        self._route_waiting(publication.id)

    def _speaking(self, ingest_id: int, is_speaking: bool) -> None:
        """At most two in a second and source (each stretch lasts a second), so the stream bears it."""
        found = self._encodings.get(ingest_id)
        # Of a copy from another node that node tells.
        if found is None or isinstance(found[0], Trunk):
            return
        claims = found[0].claims
        reason = "began" if is_speaking else "stopped"
        self._on_event(
            MediaEvent("speaking", claims.id, claims.holder, claims.seat, claims.room, self._clock_ms(), reason)
        )

    async def _tap(self, ingest_id: int, deadline_ms: int) -> EncodedFrame:
        tap_id = next(self._ids)
        future: asyncio.Future[tuple[object, ...]] = self._loop.create_future()
        self._taps[tap_id] = future
        self.counters["taps"] += 1
        try:
            self.native.tap(ingest_id, tap_id, deadline_ms)
            # The router keeps the deadline; the second one here only guards against a router that died.
            event = await asyncio.wait_for(future, deadline_ms / 1000 + 1.0)
        except TimeoutError:
            event = ("tap_failed", tap_id, "no answer from the router")
        finally:
            self._taps.pop(tap_id, None)
        if event[0] == "tap_failed":
            self.counters["taps_failed"] += 1
            raise MediaError("no_keyframe", str(event[2]))
        _, _, _, codec, ssrc, rtp_ts, arrival_us, payloads = event
        assert isinstance(payloads, list) and isinstance(arrival_us, int), "the shape that _router.pyi promises"
        assert isinstance(ssrc, int) and isinstance(rtp_ts, int), "the shape that _router.pyi promises"
        return EncodedFrame(str(codec), assemble_untrusted(str(codec), payloads), ssrc, rtp_ts, arrival_us // 1000)

    # ---------------------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, object]:
        return {
            "publications": [item.snapshot() for item in self.publications.values()],
            "subscriptions": [item.snapshot() for item in self.subscriptions.values()],
            "rooms": self._rooms.snapshot(),
            "waiting_sources": {source: len(slots) for source, slots in self._waiting.items()},
            "counters": dict(self.counters),
        }

    async def close(self, reason: str = "node_stopping") -> None:
        """Ends every session, tells the peers, and closes the sockets."""
        self.end_all(lambda claims: True, reason)
        self._goodbyes.close()
        self._heap.close()
        # One turn of the loop lets each transport's close_notify reach the router's queue before the sockets go.
        await asyncio.sleep(0.05)
        self._loop.remove_reader(self._event_fd)
        self.native.close()


def _etag(transport: Transport) -> str:
    # RFC 9725 4.3.1: the entity tag names the ICE session, so it changes with the ufrag.
    return f'"{transport.ice_ufrag}"'
