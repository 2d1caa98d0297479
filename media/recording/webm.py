"""WebM (Matroska, RFC 9559): an initialisation segment and clusters, for VP8, which no browser plays from MP4."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

from media.recording.fmp4 import (
    AUDIO_RATE_HZ,
    AUDIO_TRACK,
    OPUS_PRE_SKIP,
    VIDEO_RATE_HZ,
    VIDEO_TRACK,
    TrackPiece,
    Vp8Config,
)

# RFC 8794 6.2: a size of all ones is unknown, as it is for a stream that has no end yet.
_UNKNOWN_SIZE = bytes([0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])
# RFC 9559 10.2: a block's time is a signed 16-bit offset from its cluster's, in ms here.
_MAX_BLOCK_OFFSET_MS = 32_000
_RATES_HZ = {VIDEO_TRACK: VIDEO_RATE_HZ, AUDIO_TRACK: AUDIO_RATE_HZ}


def init_segment(video: Vp8Config | None, *, audio: bool) -> bytes:
    """EBML header, a Segment of unknown size, Info and Tracks."""
    header = _element(
        0x1A45DFA3,
        _uint(0x4286, 1) + _uint(0x42F7, 1) + _uint(0x42F2, 4) + _uint(0x42F3, 8)
        + _element(0x4282, b"webm") + _uint(0x4287, 4) + _uint(0x4285, 2),
    )  # fmt: skip
    info = _element(0x1549A966, _uint(0x2AD7B1, 1_000_000) + _element(0x4D80, b"anke") + _element(0x5741, b"anke"))
    tracks = b""
    if video is not None:
        size = _element(0xE0, _uint(0xB0, video.width) + _uint(0xBA, video.height))
        tracks += _track(VIDEO_TRACK, 1, b"V_VP8", size)
    if audio:
        # RFC 7845 5.1: what decoders of Opus in Matroska expect as private data.
        head = b"OpusHead" + pack("<BBHIhB", 1, 2, OPUS_PRE_SKIP, AUDIO_RATE_HZ, 0, 0)
        sound = _element(0xE1, _element(0xB5, pack(">d", AUDIO_RATE_HZ)) + _uint(0x9F, 2))
        delay_ns = OPUS_PRE_SKIP * 1_000_000_000 // AUDIO_RATE_HZ
        extra = _uint(0x56AA, delay_ns) + _uint(0x56BB, 80_000_000)
        tracks += _track(AUDIO_TRACK, 2, b"A_OPUS", sound + _element(0x63A2, head) + extra)
    segment = b"\x18\x53\x80\x67" + _UNKNOWN_SIZE
    return header + segment + info + _element(0x1654AE6B, tracks)


def cluster(pieces: Sequence[TrackPiece]) -> bytes:
    """Clusters with the pieces' frames, all tracks together in order of time."""
    blocks: list[tuple[int, int, bool, bytes]] = []
    for piece in pieces:
        rate_hz, ts = _RATES_HZ[piece.track], piece.decode_ts
        for sample in piece.samples:
            blocks.append((ts * 1000 // rate_hz, piece.track, sample.is_key, sample.data))
            ts += sample.duration
    blocks.sort(key=lambda block: block[0])
    written = b""
    while blocks:
        begin_ms = blocks[0][0]
        count = sum(1 for block in blocks if block[0] - begin_ms <= _MAX_BLOCK_OFFSET_MS)
        content = _uint(0xE7, begin_ms)
        for at_ms, track, is_key, data in blocks[:count]:
            block = bytes([0x80 | track]) + pack(">hB", at_ms - begin_ms, 0x80 if is_key else 0) + data
            content += _element(0xA3, block)
        written += _element(0x1F43B675, content)
        del blocks[:count]
    return written


def _track(number: int, kind: int, codec: bytes, rest: bytes) -> bytes:
    head = _uint(0xD7, number) + _uint(0x73C5, number) + _uint(0x83, kind) + _uint(0x9C, 0) + _element(0x86, codec)
    return _element(0xAE, head + rest)


def _element(identifier: int, content: bytes) -> bytes:
    name = identifier.to_bytes((identifier.bit_length() + 7) // 8, "big")
    return name + pack(">Q", 1 << 56 | len(content)) + content


def _uint(identifier: int, value: int) -> bytes:
    return _element(identifier, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))
