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
    from media._router import IngestParameters
    from media._router import Router as NativeRouter


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

    def ingests_of(self, kind: Kind) -> list[int]:
        """What a slot of this kind may show: the layers of one m-line, the one that flows if there are several.

        In the order of the offer, which browsers write from the smallest to the largest picture (RFC 8853 leaves it
        open); the router puts them right by the heights that key frames tell, and chooses among them.
        """
        return ingests_of(self.encodings, kind)

    def ingest_with(self, kind: Kind, rid: str | None) -> list[int]:
        """One encoding, whichever else there are: what a link between nodes carries."""
        return [item.ingest_id for item in self.encodings if item.kind is kind and item.rid == rid][:1]

    def request_keyframe(self) -> None:
        """Asks the publisher for an intra frame (PLI, RFC 4585 6.3.1); the router merges requests."""
        self.native.request_keyframe(self._video())

    async def next_keyframe(self, deadline_ms: int) -> EncodedFrame:
        """The tap: the next whole intra frame, asked for now.

        MediaError `no_video`, `no_keyframe`, `unknown_payload`.
        """
        return await self.tap(self._video(), deadline_ms)

    def _video(self) -> int:
        # Whichever layer is named, the router takes the best of its m-line that flows.
        ingest_ids = self.ingests_of(Kind.VIDEO)
        if not ingest_ids:
            raise MediaError("no_video", self.id)
        return ingest_ids[-1]

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


def ingests_of(encodings: list[Encoding], kind: Kind) -> list[int]:
    """As `Publication.ingests_of`."""
    candidates = [encoding for encoding in encodings if encoding.kind is kind]
    if not candidates:
        return []
    first = next((encoding for encoding in candidates if encoding.flowing), candidates[0])
    return [encoding.ingest_id for encoding in candidates if encoding.mid == first.mid]


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
                "fir": line.has_feedback("ccm fir"),
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
