"""The typed face of the Rust router (`media/router/`): sockets, ICE-lite, SRTP, RTP, RTCP, forwarding.

The Rust threads never hold the GIL per packet. Python gives commands (they take effect between two batches)
and drains events when `event_fd()` becomes readable. All ids are chosen by the caller, 64-bit, never reused.
"""

from typing import Literal, NotRequired, Self, TypedDict, final

Kind = Literal["audio", "video"]
Codec = Literal["opus", "vp8", "vp9", "h264", "av1"]
# Why a slot shows the layer it shows. `best`: there is no better one; `slot_small`: a better one would not be seen;
# `bandwidth`: the way to the viewer does not carry a better one; `paused_bandwidth`: it carries none, sound goes on;
# `layer_silent`: the publisher stopped sending a better one; `waiting_keyframe`: chosen, shown from its next key frame;
# `no_source`: nothing is published there.
LayerReason = Literal[
    "best", "slot_small", "bandwidth", "paused_bandwidth", "layer_silent", "waiting_keyframe", "no_source"
]
SrtpProfile = Literal["AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "AES128_CM_HMAC_SHA1_80"]

class HeaderExtensionIds(TypedDict, total=False):
    """RFC 8285 ids (1..14 one-byte form); a name left out is not negotiated."""

    mid: int
    rid: int
    repaired_rid: int
    abs_send_time: int
    transport_cc: int
    audio_level: int

class CodecParameters(TypedDict):
    codec: Codec
    payload_type: int
    clock_rate_hz: int
    rtx_payload_type: NotRequired[int]

class IngestParameters(TypedDict):
    """One encoding that a publisher sends: found by `ssrc`, else by `mid` (+ `rid`), then latched to its SSRC.

    A stream without ssrc and without the mid extension is latched by payload type when only one ingest of
    that transport could own it.
    """

    kind: Kind
    mid: str
    rid: NotRequired[str]
    ssrc: NotRequired[int]
    rtx_ssrc: NotRequired[int]
    codecs: list[CodecParameters]
    extensions: HeaderExtensionIds
    nack: bool
    pli: bool
    fir: NotRequired[bool]  # used to ask for key frames where PLI was not negotiated
    transport_cc: bool

class SlotParameters(TypedDict):
    """One negotiated receive slot of a viewer; what it shows is a route, changed at a key frame."""

    kind: Kind
    mid: str
    ssrc: int
    rtx_ssrc: NotRequired[int]
    codecs: list[CodecParameters]
    extensions: HeaderExtensionIds
    nack: bool

class IngestFlow(TypedDict):
    ingest_id: int
    transport_id: int
    kind: Kind
    codec: Codec | None
    ssrc: int | None
    packets: int
    payload_bytes: int
    lost: int
    nacks_sent: int
    plis_sent: int
    jitter_ts: int
    keyframes: int
    frames: int
    height_px: int | None
    last_packet_age_ms: int | None
    level_dbov: int | None

class SlotFlow(TypedDict):
    """`layer` and `wanted_layer` are places in the routed list; `target_bps` is the rate of the wanted one."""

    slot_id: int
    transport_id: int
    ingest_id: int | None
    wanted_ingest_id: int | None
    packets: int
    payload_bytes: int
    retransmitted: int
    nacks_received: int
    plis_received: int
    fraction_lost: float
    rtt_ms: float | None
    layer: int | None
    wanted_layer: int | None
    target_bps: int
    reason: LayerReason

class TransportFlow(TypedDict):
    transport_id: int
    remote: tuple[str, int] | None
    path: Literal["udp", "tcp"] | None
    state: Literal["new", "ice", "dtls", "connected", "closed"]
    rx_packets: int
    tx_packets: int
    consent_age_ms: int | None
    estimate_bps: int | None
    rtt_ms: float | None
    loss: float

class Snapshot(TypedDict):
    transports: list[TransportFlow]
    ingests: list[IngestFlow]
    slots: list[SlotFlow]
    counters: dict[str, int]

# Events, as tuples whose first item names them:
#   ("ice", transport_id, ip, port)            first valid connectivity check (or a new address nominated)
#   ("dtls", transport_id, datagram)           a DTLS record for Python's handshake
#   ("closed", transport_id, reason)           consent expired ("consent"), removed ("removed")
#   ("routed", slot_id, ingest_id)             a video slot switched source or layer, at a key frame; audio at once
#   ("keyframe", tap_id, ingest_id, codec, ssrc, rtp_ts, arrival_us, [rtp_payload, ...])
#                                              the payloads of exactly one complete intra frame, in order;
#                                              arrival_us is wall-clock (Unix epoch) of its last packet
#   ("tap_failed", tap_id, reason)             "deadline", "no_ingest"
#   ("ingest_started", ingest_id, ssrc, codec) first packet of that ingest
#   ("speaking", ingest_id, is_speaking)       an audio ingest whose packets carry levels (RFC 6464) began or stopped
#                                              to speak; each stretch lasts at least a second
Event = tuple[object, ...]

@final
class Router:
    """Commands raise ValueError for values that cannot be, RuntimeError once the router is closed. One that names an
    id that is gone (a transport may close at any moment) is counted as `commands_ignored` and has no other effect."""

    def __new__(
        cls, bind: list[tuple[str, int]], *, history_packets: int = 1024, threads: int = 1, tcp: bool = False
    ) -> Self:
        """Binds one UDP port per address (port 0 = any), with `tcp` the same port on TCP as well, and starts `threads`
        I/O threads, over which transports are spread. OSError if it cannot bind, ValueError if `threads` is not within
        1..16 or `history_packets` not within 64..65536."""

    def local_addresses(self) -> list[tuple[str, int]]: ...
    def event_fd(self) -> int: ...
    def drain_events(self, max_events: int = 256) -> list[Event]: ...
    def add_transport(
        self, transport_id: int, local_ufrag: str, local_pwd: str, remote_ufrag: str | None = None
    ) -> None: ...
    def restart_ice(self, transport_id: int, local_ufrag: str, local_pwd: str, remote_ufrag: str | None = None) -> None:
        """New ICE credentials (RFC 8445 9); the old ones are good until the first check with the new."""

    def add_link(
        self,
        transport_id: int,
        local_ufrag: str,
        local_pwd: str,
        remote_ufrag: str,
        remote_pwd: str,
        remote_addresses: list[tuple[str, int]],
    ) -> None:
        """A transport to another node, without DTLS: `set_srtp_keys` follows at once. It asks connectivity checks of
        `remote_addresses` (numeric, best first) twice a second and is closed ("consent") 4 s after the other end's
        last. ValueError if no socket reaches any of them."""

    def send_dtls(self, transport_id: int, datagram: bytes) -> None: ...
    def set_srtp_keys(
        self,
        transport_id: int,
        profile: SrtpProfile,
        rx_key: bytes,
        rx_salt: bytes,
        tx_key: bytes,
        tx_salt: bytes,
    ) -> None: ...
    def remove_transport(self, transport_id: int) -> None: ...
    def add_ingest(self, ingest_id: int, transport_id: int, parameters: IngestParameters) -> None: ...
    def remove_ingest(self, ingest_id: int) -> None: ...
    def add_slot(self, slot_id: int, transport_id: int, parameters: SlotParameters) -> None: ...
    def remove_slot(self, slot_id: int) -> None: ...
    def route(self, slot_id: int, ingest_ids: list[int]) -> None:
        """The slot shows these encodings of one source, lowest first; which one, the router chooses. [] is nothing."""

    def limit_slot(self, slot_id: int, max_height_px: int | None) -> None:
        """How high the slot's picture is shown: no layer much higher than this is sent. None is any."""

    def request_keyframe(self, ingest_id: int) -> None: ...
    def tap(self, ingest_id: int, tap_id: int, deadline_ms: int) -> None: ...
    def snapshot(self) -> Snapshot: ...
    def counters(self) -> dict[str, int]: ...
    def close(self) -> None: ...
