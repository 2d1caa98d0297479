"""One published set of streams: its encodings, what of them to show, and the key-frame tap."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from media.errors import MediaError
from media.frame import EncodedFrame
from media.rtp_parameters import Kind, Media, Offer
from media.tokens import Claims
from media.transport import Transport

if TYPE_CHECKING:
    from media._router import IngestFlow, IngestParameters
    from media._router import Router as NativeRouter

# A simulcast encoding that has been silent this long is not shown while another one flows: browsers stop their upper
# layers at once when bandwidth falls.
SILENT_MS = 1000


@dataclass(slots=True, eq=False)
class Encoding:
    """One stream of a publication: an audio or a video, or one simulcast layer (`rid`) of it."""

    kind: Kind
    mid: str
    rid: str | None
    ingest_id: int
    ssrc: int | None = None
    codec: str | None = None
    flowing: bool = False


@dataclass(slots=True, eq=False)
class Publication:
    """What one holder publishes under one id. `encodings` are in the order of the offer, simulcast low to high."""

    claims: Claims
    session_id: str
    transport: Transport
    native: NativeRouter
    tap: Callable[[int, int], Awaitable[EncodedFrame]]
    encodings: list[Encoding] = field(default_factory=list)
    started: bool = False

    @property
    def id(self) -> str:
        return self.claims.id

    @property
    def is_simulcast(self) -> bool:
        return any(encoding.rid is not None for encoding in self.encodings)

    def ingest_of(self, kind: Kind) -> int | None:
        """The ingest that a slot of this kind shows: the highest layer that flows, else the first one promised."""
        candidates = [encoding for encoding in self.encodings if encoding.kind is kind]
        flowing = [encoding for encoding in candidates if encoding.flowing]
        if flowing:
            # RFC 8853 leaves the order of rids open; browsers list them from the smallest to the largest picture.
            return _best_of_first_mid(flowing).ingest_id
        return candidates[0].ingest_id if candidates else None

    def observe(self, flows: dict[int, IngestFlow]) -> bool:
        """Notes which encodings flow, from a once-a-second sample. True when a slot should now show another one."""
        before = [self.ingest_of(kind) for kind in Kind]
        for encoding in self.encodings:
            flow = flows.get(encoding.ingest_id)
            if flow is not None and encoding.rid is not None:
                age_ms = flow["last_packet_age_ms"]
                encoding.flowing = age_ms is not None and age_ms < SILENT_MS
        return before != [self.ingest_of(kind) for kind in Kind]

    def request_keyframe(self) -> None:
        """Asks the publisher for an intra frame (PLI, RFC 4585 6.3.1); the router merges requests."""
        self.native.request_keyframe(self._video())

    async def next_keyframe(self, deadline_ms: int) -> EncodedFrame:
        """The tap: the next whole intra frame, asked for now.

        MediaError `no_video`, `no_keyframe`, `unknown_payload`.
        """
        return await self.tap(self._video(), deadline_ms)

    def _video(self) -> int:
        ingest_id = self.ingest_of(Kind.VIDEO)
        if ingest_id is None:
            raise MediaError("no_video", self.id)
        return ingest_id

    def snapshot(self) -> dict[str, object]:
        return {
            "id": self.id,
            "holder": self.claims.holder,
            "seat": self.claims.seat,
            "room": self.claims.room,
            "session_id": self.session_id[:6],
            "started": self.started,
            "transport": self.transport.snapshot(),
            "encodings": [
                {"kind": item.kind.value, "mid": item.mid, "rid": item.rid, "ssrc": item.ssrc, "codec": item.codec}
                for item in self.encodings
            ],
        }


def _best_of_first_mid(encodings: list[Encoding]) -> Encoding:
    first = encodings[0].mid
    return [encoding for encoding in encodings if encoding.mid == first][-1]


def plan_ingests(offer: Offer) -> list[tuple[Media, str | None, IngestParameters]]:
    """What the router has to receive for this offer: one entry a stream, simulcast layers apart.

    MediaError `no_media` when the offer sends nothing.
    """
    planned: list[tuple[Media, str | None, IngestParameters]] = []
    for line in offer.media:
        if not line.sends:
            continue
        for place, rid in enumerate(line.rids or (None,)):
            parameters: IngestParameters = {
                "kind": Kind(line.kind).value,
                "mid": line.mid,
                "codecs": [codec.native() for codec in line.codecs],
                "extensions": line.extension_ids(),
                "nack": line.has_feedback("nack"),
                "pli": line.has_feedback("nack pli"),
                "transport_cc": line.has_feedback("transport-cc") and "transport_cc" in line.extension_ids(),
            }
            if rid is not None:
                parameters["rid"] = rid
            # Simulcast streams are found by rid; when SSRCs are listed as well they come in the same order.
            if place < len(line.ssrcs) and (rid is None or len(line.ssrcs) == len(line.rids)):
                ssrc, rtx_ssrc = line.ssrcs[place]
                parameters["ssrc"] = ssrc
                if rtx_ssrc is not None:
                    parameters["rtx_ssrc"] = rtx_ssrc
            planned.append((line, rid, parameters))
    if not planned:
        raise MediaError("no_media", "the offer sends nothing (every m-line is recvonly or inactive)")
    return planned
