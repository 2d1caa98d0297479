"""A publication of another node as this node has it: one copy of each of its streams, from which all viewers here are
served. And the other half: a slot of that link at the publisher's node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from media.errors import MediaError
from media.publication import Encoding
from media.rtp_parameters import Kind
from media.subscription import Slot

if TYPE_CHECKING:
    from media._router import CodecParameters, HeaderExtensionIds, IngestParameters, SlotParameters

MAX_SSRC = 0xFFFFFFFF
# A link's payload types are ours on both ends, so each codec of the router has one.
_VIDEO: list[CodecParameters] = [
    {"codec": "vp8", "payload_type": 96, "clock_rate_hz": 90_000, "rtx_payload_type": 97},
    {"codec": "h264", "payload_type": 98, "clock_rate_hz": 90_000, "rtx_payload_type": 99},
    {"codec": "vp9", "payload_type": 100, "clock_rate_hz": 90_000, "rtx_payload_type": 101},
    {"codec": "av1", "payload_type": 102, "clock_rate_hz": 90_000, "rtx_payload_type": 103},
]
_AUDIO: list[CodecParameters] = [{"codec": "opus", "payload_type": 111, "clock_rate_hz": 48_000}]
CODECS: dict[Kind, list[CodecParameters]] = {Kind.AUDIO: _AUDIO, Kind.VIDEO: _VIDEO}
EXTENSIONS: HeaderExtensionIds = {"mid": 1, "audio_level": 2}


@dataclass(frozen=True, slots=True)
class Stream:
    """One encoding of a publication on a link: what both ends have to know of it."""

    kind: Kind
    rid: str | None
    mid: str
    ssrc: int
    rtx_ssrc: int | None

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind.value, "rid": self.rid, "mid": self.mid, "ssrc": self.ssrc, "rtx_ssrc": self.rtx_ssrc}

    @classmethod
    def read_untrusted(cls, body: Any) -> Stream:
        """MediaError `bad_request` and nothing else."""
        try:
            stream = cls(Kind(body["kind"]), body["rid"], body["mid"], body["ssrc"], body["rtx_ssrc"])
        except (KeyError, TypeError, ValueError):
            raise MediaError("bad_request", "a stream of a link") from None
        ssrcs = [stream.ssrc] if stream.rtx_ssrc is None else [stream.ssrc, stream.rtx_ssrc]
        texts = [stream.mid] if stream.rid is None else [stream.mid, stream.rid]
        if not all(type(ssrc) is int and 0 < ssrc <= MAX_SSRC for ssrc in ssrcs):
            raise MediaError("bad_request", "an SSRC of a link")
        if not all(isinstance(text, str) and len(text) <= 64 for text in texts):
            raise MediaError("bad_request", "mid or rid of a link")
        return stream

    def slot(self) -> SlotParameters:
        """At the publisher's node."""
        parameters: SlotParameters = {
            "kind": self.kind.value,
            "mid": self.mid,
            "ssrc": self.ssrc,
            "codecs": CODECS[self.kind],
            "extensions": EXTENSIONS,
            "nack": True,
        }
        if self.rtx_ssrc is not None:
            parameters["rtx_ssrc"] = self.rtx_ssrc
        return parameters

    def ingest(self) -> IngestParameters:
        """At the viewers' node."""
        parameters: IngestParameters = {
            "kind": self.kind.value,
            "mid": self.mid,
            "ssrc": self.ssrc,
            "codecs": CODECS[self.kind],
            "extensions": EXTENSIONS,
            "nack": True,
            "pli": self.kind is Kind.VIDEO,
            # Nodes are joined by lines that carry what they are asked to; nothing here chooses a bit rate.
            "transport_cc": False,
        }
        if self.rtx_ssrc is not None:
            parameters["rtx_ssrc"] = self.rtx_ssrc
        return parameters


@dataclass(slots=True, eq=False)
class LinkSlot(Slot):
    """What of one publication goes over a link: exactly one encoding, never one that came over a link itself."""

    rid: str | None = None


@dataclass(slots=True, eq=False)
class Trunk:
    """`id` is the publication's. `encodings` in the order of the publisher's offer, simulcast low to high."""

    id: str
    node_id: str
    encodings: list[Encoding] = field(default_factory=list)

    def ingests_of(self, kind: Kind) -> list[int]:
        # All streams of a link have mids of their own; the publisher's node gave those of one m-line.
        return [encoding.ingest_id for encoding in self.encodings if encoding.kind is kind]

    def snapshot(self) -> dict[str, object]:
        return {
            "id": self.id,
            "node_id": self.node_id,
            "encodings": [
                {
                    "kind": item.kind.value,
                    "rid": item.rid,
                    "ssrc": item.ssrc,
                    "ingest_id": item.ingest_id,
                    "flowing": item.flowing,
                }
                for item in self.encodings
            ],
        }
