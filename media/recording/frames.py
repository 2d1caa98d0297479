"""RTP packets in order → encoded frames with what a file needs to know of them. Nothing is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack

from media.errors import MediaError
from media.keyframe import assemble_untrusted
from media.recording.fmp4 import AUDIO_RATE_HZ, H264Config, VideoConfig, Vp8Config
from media.recording.reorder import Lost, Packet

_IDR, _SPS, _PPS, _AUD = 5, 7, 8, 9
_START_CODE = b"\x00\x00\x00\x01"
# RFC 6716 3.1 table 2: duration of one frame in samples at 48 kHz, by configuration.
_OPUS_FRAME_TS = [480, 960, 1920, 2880] * 3 + [480, 960] * 2 + [120, 240, 480, 960] * 4
# A frame that never ends is not waited for: larger than any key frame of 4K video.
MAX_FRAME_BYTES = 8 << 20
# Profiles whose SPS carries chroma and bit-depth fields (H.264 7.3.2.1.1).
_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128}


@dataclass(frozen=True, slots=True)
class Frame:
    """`data`: an Opus packet, a VP8 frame, or an H.264 access unit with four-byte lengths.

    `ts`: 64-bit RTP time. `duration_ts` is known for audio only. `config` comes with key frames.
    """

    codec: str
    data: bytes
    ts: int
    arrival_us: int
    is_key: bool = True
    duration_ts: int = 0
    config: VideoConfig | None = None


class AudioFrames:
    """Opus: one packet is one frame (RFC 7587 4.2)."""

    def __init__(self) -> None:
        self.broken = 0

    def push(self, item: Packet | Lost) -> Frame | None:
        if isinstance(item, Lost) or not item.payload:
            return None
        try:
            duration_ts = opus_duration_untrusted(item.payload)
        except MediaError:
            self.broken += 1
            return None
        return Frame("opus", item.payload, item.ext_ts, item.arrival_us, duration_ts=duration_ts)


class VideoFrames:
    """Collects packets of one timestamp up to the marker; after a loss nothing counts until the next key frame."""

    def __init__(self, codecs: dict[int, str]) -> None:
        """`codecs`: payload type → "h264" or "vp8"."""
        self.broken = 0
        self.needs_key = True
        self._codecs = codecs
        self._codec = ""
        self._payloads: list[bytes] = []
        self._bytes = 0
        self._ts: int | None = None
        self._holed = False
        self._h264: H264Config | None = None

    def push(self, item: Packet | Lost) -> Frame | None:
        if isinstance(item, Lost):
            self._payloads.clear()
            self._holed = self.needs_key = True
            return None
        codec = self._codecs.get(item.payload_type)
        if codec is None or not item.payload:
            return None
        if item.ext_ts != self._ts or codec != self._codec:
            # The marker of the frame before was lost, or there was none: what is left of it is no frame.
            if self._payloads:
                self.broken += 1
                self.needs_key = True
            self._payloads, self._bytes, self._holed = [], 0, self._holed and item.ext_ts == self._ts
            self.needs_key = self.needs_key or codec != self._codec
            self._ts, self._codec = item.ext_ts, codec
        self._payloads.append(item.payload)
        self._bytes += len(item.payload)
        if not item.marker and self._bytes <= MAX_FRAME_BYTES:
            return None
        payloads, self._payloads = self._payloads, []
        whole, self._holed = not self._holed, False
        try:
            frame = self._assemble(codec, payloads, item) if whole else None
        except MediaError:
            self.broken += 1
            frame = None
        if frame is None or (self.needs_key and not frame.is_key):
            self.needs_key = True
            return None
        self.needs_key = False
        return frame

    def _assemble(self, codec: str, payloads: list[bytes], last: Packet) -> Frame | None:
        data = assemble_untrusted(codec, payloads)
        if codec == "vp8":
            vp8 = vp8_config_untrusted(data)
            return Frame(codec, data, last.ext_ts, last.arrival_us, vp8 is not None, config=vp8)
        kept, is_key = [], False
        sps = pps = None
        for nal in data.split(_START_CODE)[1:]:
            kind = nal[0] & 0x1F if nal else _AUD
            if kind == _SPS:
                sps = nal
            elif kind == _PPS:
                pps = nal
            elif kind != _AUD:
                is_key = is_key or kind == _IDR
                kept.append(pack(">I", len(nal)) + nal)
        if (
            sps is not None
            and pps is not None
            and (self._h264 is None or (self._h264.sps, self._h264.pps) != (sps, pps))
        ):
            width, height = picture_size_untrusted(sps)
            self._h264 = H264Config(sps, pps, width, height)
        if not kept or (is_key and self._h264 is None):
            return None
        config = self._h264 if is_key else None
        return Frame(codec, b"".join(kept), last.ext_ts, last.arrival_us, is_key, config=config)


def opus_duration_untrusted(payload: bytes) -> int:
    """Duration of an Opus packet in samples at 48 kHz (RFC 6716 3.1, 3.2). MediaError `unknown_payload`."""
    frame_ts = _OPUS_FRAME_TS[payload[0] >> 3] if payload else 0
    code = payload[0] & 3 if payload else 3
    if code == 3:
        if len(payload) < 2:
            raise MediaError("unknown_payload", "an Opus packet without its frame count")
        count = payload[1] & 0x3F
    else:
        count = 1 if code == 0 else 2
    if not 0 < frame_ts * count <= AUDIO_RATE_HZ * 120 // 1000:
        raise MediaError("unknown_payload", f"an Opus packet of {frame_ts * count} samples")
    return frame_ts * count


def vp8_config_untrusted(data: bytes) -> Vp8Config | None:
    """Picture size of a VP8 key frame, None for other frames (RFC 6386 9.1). MediaError `unknown_payload`."""
    if not data:
        raise MediaError("unknown_payload", "an empty VP8 frame")
    if data[0] & 1:
        return None
    if len(data) < 10 or data[3:6] != b"\x9d\x01\x2a":
        raise MediaError("unknown_payload", "a VP8 key frame without its start code")
    return Vp8Config(int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF)


class _Bits:
    """Reads bits of an RBSP. MediaError `unknown_payload` at its end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def bits(self, count: int) -> int:
        if count > self._left:
            raise MediaError("unknown_payload", "an SPS that ends early")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        """ue(v), H.264 9.1."""
        zeros = 0
        while not self.bits(1):
            zeros += 1
            if zeros > 31:
                raise MediaError("unknown_payload", "an SPS with an endless number")
        return (1 << zeros) - 1 + self.bits(zeros)

    def signed(self) -> int:
        value = self.golomb()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def picture_size_untrusted(sps: bytes) -> tuple[int, int]:
    """(width, height) that an H.264 SPS names, cropped (H.264 7.3.2.1.1). MediaError `unknown_payload`."""
    if len(sps) < 5:
        raise MediaError("unknown_payload", "an SPS of too few bytes")
    read = _Bits(sps[4:].replace(b"\x00\x00\x03", b"\x00\x00"))
    read.golomb()
    chroma = 1
    if sps[1] in _HIGH_PROFILES:
        chroma = read.golomb()
        if chroma == 3:
            read.bits(1)
        read.golomb()
        read.golomb()
        read.bits(1)
        if read.bits(1):
            for place in range(12 if chroma == 3 else 8):
                if read.bits(1):
                    _skip_scaling_list(read, 16 if place < 6 else 64)
    read.golomb()
    order = read.golomb()
    if order == 0:
        read.golomb()
    elif order == 1:
        read.bits(1)
        read.signed()
        read.signed()
        for _ in range(min(read.golomb(), 255)):
            read.signed()
    read.golomb()
    read.bits(1)
    width = 16 * (read.golomb() + 1)
    map_units = read.golomb() + 1
    frames_only = read.bits(1)
    height = 16 * map_units * (2 - frames_only)
    if not frames_only:
        read.bits(1)
    read.bits(1)
    if read.bits(1):
        left, right, top, bottom = (read.golomb() for _ in range(4))
        unit_x = 1 if chroma in (0, 3) else 2
        unit_y = (2 if chroma == 1 else 1) * (2 - frames_only)
        width -= unit_x * (left + right)
        height -= unit_y * (top + bottom)
    if not (0 < width <= 16384 and 0 < height <= 16384):
        raise MediaError("unknown_payload", f"an SPS of {width}x{height}")
    return width, height


def _skip_scaling_list(read: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + read.signed()) % 256
        last = following or last
