"""A viewer's fixed set of receive slots: what each shows, and what was negotiated for it once."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from media.errors import MediaError
from media.rtp_parameters import Kind, Media, Offer, Sending
from media.tokens import Claims, SlotClaim
from media.transport import Transport

if TYPE_CHECKING:
    from media._router import SlotParameters


@dataclass(slots=True, eq=False)
class Slot:
    """One place in a viewer's page. `source` is the publication it should show, which may come and go.

    `slot_id` is None when the viewer offered no m-line for it. `ingest_ids` is what the router was last told to show,
    `height_px` how high the page shows it (None: any). `told_at_ms`: when `source` was last set, by the token or by
    a later `show`.
    """

    name: str
    kind: Kind
    source: str | None
    told_at_ms: int
    slot_id: int | None = None
    mid: str | None = None
    ssrc: int | None = None
    height_px: int | None = None
    ingest_ids: list[int] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Subscription:
    """What one holder plays under one id: slots negotiated once, routed as often as wanted."""

    claims: Claims
    session_id: str
    transport: Transport
    slots: dict[str, Slot] = field(default_factory=dict)
    started: bool = False

    @property
    def id(self) -> str:
        return self.claims.id

    def snapshot(self) -> dict[str, object]:
        return {
            "id": self.id,
            "holder": self.claims.holder,
            "seat": self.claims.seat,
            "room": self.claims.room,
            "session_id": self.session_id[:6],
            "started": self.started,
            "transport": self.transport.snapshot(),
            "slots": self.shown(),
        }

    def shown(self) -> dict[str, dict[str, object]]:
        """What each slot shows: its source and whether a publication is behind it now."""
        return {
            slot.name: {
                "source": slot.source,
                "mid": slot.mid,
                "routed": bool(slot.ingest_ids),
                "height_px": slot.height_px,
            }
            for slot in self.slots.values()
        }


@dataclass(frozen=True, slots=True)
class PlannedSlot:
    """A slot that has an m-line: what to tell the router and what to write into the answer."""

    name: str
    line: Media
    parameters: SlotParameters
    sending: Sending


def plan_slots(offer: Offer, slots: tuple[SlotClaim, ...], new_ssrc: Callable[[], int]) -> list[PlannedSlot]:
    """Gives the token's slots the offer's receiving m-lines, in order, kind by kind.

    Slots of one publication share a stream, which is how a browser knows what to keep in lip-sync. MediaError
    `no_media` when no slot finds an m-line.
    """
    waiting = {kind: [slot for slot in slots if slot.kind == kind.value] for kind in Kind}
    streams: dict[str, str] = {}
    cname = secrets.token_hex(8)  # RFC 7022 4.2: short-term persistent, one per session
    planned: list[PlannedSlot] = []
    for line in offer.media:
        if not line.receives or not waiting[Kind(line.kind)]:
            continue
        slot = waiting[Kind(line.kind)].pop(0)
        codecs = [codec.native() for codec in line.codecs]
        has_rtx = any("rtx_payload_type" in codec for codec in codecs)
        sending = Sending(
            ssrc=new_ssrc(),
            rtx_ssrc=new_ssrc() if has_rtx else None,
            cname=cname,
            stream_id=streams.setdefault(slot.source, slot.name) if slot.source else slot.name,
            track_id=slot.name,
        )
        parameters: SlotParameters = {
            "kind": Kind(line.kind).value,
            "mid": line.mid,
            "ssrc": sending.ssrc,
            "codecs": codecs,
            "extensions": line.extension_ids(),
            "nack": line.has_feedback("nack"),
        }
        if not line.has_feedback("transport-cc"):
            # Numbers that nobody reports on would only cost bytes.
            parameters["extensions"].pop("transport_cc", None)
        if sending.rtx_ssrc is not None:
            parameters["rtx_ssrc"] = sending.rtx_ssrc
        planned.append(PlannedSlot(slot.name, line, parameters, sending))
    if not planned:
        raise MediaError("no_media", "no m-line of the offer receives what the token's slots hold")
    return planned
