"""What two ends agree to send: codecs, encodings, header extensions, as frozen values with ORTC's names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from media._router import CodecParameters as NativeCodec
    from media._router import HeaderExtensionIds


class Kind(StrEnum):
    AUDIO = "audio"
    VIDEO = "video"


class Direction(StrEnum):
    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"


class Setup(StrEnum):
    """`a=setup` (RFC 4145 4, RFC 5763 5): who opens the DTLS handshake."""

    ACTPASS = "actpass"
    ACTIVE = "active"
    PASSIVE = "passive"


# The header extensions that the router understands, by the name it gives them. Everything else is left out of answers.
EXTENSION_URIS: dict[str, str] = {
    "mid": "urn:ietf:params:rtp-hdrext:sdes:mid",  # RFC 8843 15.1
    "rid": "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",  # RFC 8852 4.1
    "repaired_rid": "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",  # RFC 8852 4.2
    "abs_send_time": "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "transport_cc": "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    "audio_level": "urn:ietf:params:rtp-hdrext:ssrc-audio-level",  # RFC 6464
}
EXTENSION_NAMES = {uri: name for name, uri in EXTENSION_URIS.items()}

# RFC 8285 4.2: the one-byte form has ids 1..14, the only form the router writes.
MAX_EXTENSION_ID = 14

# `nack`: RFC 4585; `ccm fir`: RFC 5104; `transport-cc`: draft-holmer-rmcat-transport-wide-cc-extensions-01;
# `goog-remb`: draft-alvestrand-rmcat-remb-03. Only these are answered: FIR where there is no PLI, REMB where there
# is no transport-cc, and to viewers only, for we tell publishers no bit rate.
SUPPORTED_FEEDBACK = ("nack", "nack pli", "ccm fir", "transport-cc", "goog-remb")


@dataclass(frozen=True, slots=True)
class Codec:
    """One payload type of an m-line. `name` is the router's (`opus`, `vp8`, `h264`, `vp9`, `av1`), `fmtp` verbatim."""

    name: str
    encoding: str
    payload_type: int
    clock_rate_hz: int
    channels: int = 1
    fmtp: str = ""
    feedback: tuple[str, ...] = ()
    rtx_payload_type: int | None = None

    def native(self) -> NativeCodec:
        parameters: NativeCodec = {
            "codec": self.name,  # type: ignore[typeddict-item]
            "payload_type": self.payload_type,
            "clock_rate_hz": self.clock_rate_hz,
        }
        if self.rtx_payload_type is not None:
            parameters["rtx_payload_type"] = self.rtx_payload_type
        return parameters


@dataclass(frozen=True, slots=True)
class Media:
    """One offered m-line as far as this node can use it; `index` is its place in the offer.

    `codecs` are the usable ones in the order of our answer. `ssrcs` are (media, retransmission or None) pairs.
    `rids` are the simulcast encodings that the offerer wants to send, in its order (RFC 8853 5.2).
    """

    index: int
    kind: str
    protocol: str
    formats: tuple[str, ...]
    port: int
    mid: str
    direction: Direction
    codecs: tuple[Codec, ...]
    extensions: tuple[tuple[str, int], ...]
    ssrcs: tuple[tuple[int, int | None], ...]
    rids: tuple[str, ...]
    bundled: bool
    reduced_size_rtcp: bool

    @property
    def rejected(self) -> bool:
        """True when nothing of this m-line can be used: the answer gives it port 0 (RFC 3264 6)."""
        return self.kind not in (Kind.AUDIO, Kind.VIDEO) or not self.codecs or self.port == 0

    @property
    def sends(self) -> bool:
        return not self.rejected and self.direction in (Direction.SENDONLY, Direction.SENDRECV)

    @property
    def receives(self) -> bool:
        return not self.rejected and self.direction in (Direction.RECVONLY, Direction.SENDRECV)

    def extension_ids(self) -> HeaderExtensionIds:
        ids: HeaderExtensionIds = {}
        for name, number in self.extensions:
            ids[name] = number  # type: ignore[literal-required]
        return ids

    def has_feedback(self, feedback: str) -> bool:
        return any(feedback in codec.feedback for codec in self.codecs)


@dataclass(frozen=True, slots=True)
class Offer:
    """A parsed offer: one bundled transport and its m-lines."""

    media: tuple[Media, ...]
    ice_ufrag: str
    ice_pwd: str
    fingerprints: tuple[tuple[str, str], ...]
    setup: Setup

    @property
    def we_are_dtls_server(self) -> bool:
        """We are the DTLS server wherever the peer lets us: Chromium then offers AES-GCM (RFC 5763 5)."""
        return self.setup is not Setup.PASSIVE


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """Our end of the one bundled transport, as written into an answer."""

    ice_ufrag: str
    ice_pwd: str
    fingerprint: tuple[str, str]
    setup: Setup
    candidates: tuple[tuple[str, int], ...]
    tcp: bool = False  # each candidate listens on TCP as well


@dataclass(frozen=True, slots=True)
class Sending:
    """What we send on one answered m-line: a slot's SSRCs and the names a browser sees for it."""

    ssrc: int
    rtx_ssrc: int | None
    cname: str
    stream_id: str
    track_id: str
