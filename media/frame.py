"""One encoded intra frame, as the key-frame tap hands it out: the bytes a decoder takes, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """`data` is one VP8 frame, or one H.264 access unit in Annex B with its parameter sets.

    `arrival_ms`: Unix epoch milliseconds at which its last packet reached the node. `rtp_ts`: RTP clock ticks.
    """

    codec: str
    data: bytes
    ssrc: int
    rtp_ts: int
    arrival_ms: int
    node_id: str = ""
