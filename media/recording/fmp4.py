"""Fragmented MP4 (ISO/IEC 14496-12, CMAF 23000-19): an initialisation segment and fragments, as pure bytes.

Written here since PyAV has no way to end a fragment where we want it; what comes out is checked with PyAV and browsers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack

AUDIO_RATE_HZ = 48_000
VIDEO_RATE_HZ = 90_000
VIDEO_TRACK, AUDIO_TRACK = 1, 2

# 14496-12 8.8.3.1: sample_depends_on and sample_is_non_sync_sample.
KEY_SAMPLE, DELTA_SAMPLE = 0x0200_0000, 0x0101_0000
_MATRIX = pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000)
# Opus decoders need 80 ms before their output is right (RFC 7845 4.2), said here in samples at 48 kHz.
OPUS_PRE_SKIP = 312


@dataclass(frozen=True, slots=True)
class H264Config:
    """What a decoder must know before the first picture. `sps` and `pps` are whole NAL units without start codes."""

    sps: bytes
    pps: bytes
    width: int
    height: int

    @property
    def codec(self) -> str:
        """As RFC 6381 and MSE name it."""
        return f"avc1.{self.sps[1:4].hex()}"


@dataclass(frozen=True, slots=True)
class Vp8Config:
    width: int
    height: int

    @property
    def codec(self) -> str:
        return "vp8"


VideoConfig = H264Config | Vp8Config


@dataclass(frozen=True, slots=True)
class Sample:
    """One frame as it is stored. `duration` in the track's ticks."""

    data: bytes
    duration: int
    is_key: bool = True


@dataclass(frozen=True, slots=True)
class TrackPiece:
    """What one fragment holds of one track: its first decode time in ticks and its samples in order."""

    track: int
    decode_ts: int
    samples: Sequence[Sample]


def init_segment(video: H264Config | None, *, audio: bool) -> bytes:
    """`ftyp` and `moov` for the tracks that there are."""
    tracks, extends = b"", b""
    if video is not None:
        tracks += _track(VIDEO_TRACK, VIDEO_RATE_HZ, b"vide", _avc1(video), video.width, video.height)
        extends += _full(b"trex", 0, 0, pack(">5I", VIDEO_TRACK, 1, 0, 0, 0))
    if audio:
        tracks += _track(AUDIO_TRACK, AUDIO_RATE_HZ, b"soun", _opus(), 0, 0)
        extends += _full(b"trex", 0, 0, pack(">5I", AUDIO_TRACK, 1, 0, 0, 0))
    header = _full(
        b"mvhd", 0, 0, pack(">4I", 0, 0, 1000, 0) + pack(">IHH8x", 0x10000, 0x0100, 0) + _MATRIX + pack(">24xI", 3)
    )
    brands = _box(b"ftyp", b"iso6" + pack(">I", 0) + b"iso6cmfcmp41")
    return brands + _box(b"moov", header + tracks + _box(b"mvex", extends))


def fragment(number: int, pieces: Sequence[TrackPiece]) -> bytes:
    """`moof` and `mdat`. `number` grows by one with each fragment of a file or of a run of files."""
    header = _full(b"mfhd", 0, 0, pack(">I", number))
    parts = [piece for piece in pieces if piece.samples]
    # Every offset in `moof` counts from its own start (default-base-is-moof), so its size has to be known first.
    size = 8 + len(header) + sum(_traf_bytes(piece) for piece in parts)
    offset = size + 8
    trafs = b""
    for piece in parts:
        trafs += _traf(piece, offset)
        offset += sum(len(sample.data) for sample in piece.samples)
    moof = _box(b"moof", header + trafs)
    assert len(moof) == size, "_traf_bytes() says how long _traf() is"
    return moof + _box(b"mdat", b"".join(sample.data for piece in parts for sample in piece.samples))


def _traf_bytes(piece: TrackPiece) -> int:
    return 8 + 16 + 20 + 20 + 12 * len(piece.samples)


def _traf(piece: TrackPiece, offset: int) -> bytes:
    entries = b"".join(
        pack(">III", sample.duration, len(sample.data), KEY_SAMPLE if sample.is_key else DELTA_SAMPLE)
        for sample in piece.samples
    )
    header = _full(b"tfhd", 0, 0x02_0000, pack(">I", piece.track))
    run = _full(b"trun", 0, 0x701, pack(">II", len(piece.samples), offset) + entries)
    return _box(b"traf", header + _full(b"tfdt", 1, 0, pack(">Q", piece.decode_ts)) + run)


def _box(name: bytes, content: bytes) -> bytes:
    return pack(">I", 8 + len(content)) + name + content


def _full(name: bytes, version: int, flags: int, content: bytes) -> bytes:
    return _box(name, pack(">I", version << 24 | flags) + content)


def _track(track: int, rate_hz: int, handler: bytes, entry: bytes, width: int, height: int) -> bytes:
    is_video = handler == b"vide"
    volume = 0 if is_video else 0x0100
    header = _full(
        b"tkhd",
        0,
        3,
        pack(">5I8x", 0, 0, track, 0, 0)
        + pack(">HHHH", 0, 0, volume, 0)
        + _MATRIX
        + pack(">II", width << 16, height << 16),
    )
    table = _full(b"stsd", 0, 0, pack(">I", 1) + entry)
    table += _full(b"stts", 0, 0, pack(">I", 0)) + _full(b"stsc", 0, 0, pack(">I", 0))
    table += _full(b"stsz", 0, 0, pack(">II", 0, 0)) + _full(b"stco", 0, 0, pack(">I", 0))
    media_header = _full(b"vmhd", 0, 1, bytes(8)) if is_video else _full(b"smhd", 0, 0, bytes(4))
    reference = _full(b"dref", 0, 0, pack(">I", 1) + _full(b"url ", 0, 1, b""))
    information = _box(b"minf", media_header + _box(b"dinf", reference) + _box(b"stbl", table))
    media = _full(b"mdhd", 0, 0, pack(">4IHH", 0, 0, rate_hz, 0, 0x55C4, 0))  # language "und"
    media += _full(b"hdlr", 0, 0, pack(">I", 0) + handler + bytes(12) + b"anke\0")
    return _box(b"trak", header + _box(b"mdia", media + information))


def _avc1(config: H264Config) -> bytes:
    # 14496-15 5.3.3.1: one SPS, one PPS, NAL units with four-byte lengths.
    record = pack(">B3sBB", 1, config.sps[1:4], 0xFF, 0xE1) + pack(">H", len(config.sps)) + config.sps
    record += pack(">BH", 1, len(config.pps)) + config.pps
    entry = bytes(6) + pack(">H", 1) + bytes(16) + pack(">HH", config.width, config.height)
    entry += pack(">IIIH", 0x48_0000, 0x48_0000, 0, 1) + bytes(32) + pack(">Hh", 0x18, -1)
    return _box(b"avc1", entry + _box(b"avcC", record))


def _opus() -> bytes:
    # Encapsulation of Opus in ISOBMFF 4.3.2: version 0, two channels, pre-skip, input rate, gain 0, mapping family 0.
    specific = _box(b"dOps", pack(">BBHIhB", 0, 2, OPUS_PRE_SKIP, AUDIO_RATE_HZ, 0, 0))
    entry = bytes(6) + pack(">H", 1) + bytes(8) + pack(">HHHHI", 2, 16, 0, 0, AUDIO_RATE_HZ << 16)
    return _box(b"Opus", entry + specific)
