"""The lecture stream that every server of this benchmark forwards: 200 packets/s of 1150 B video, 50 packets/s of Opus.

Video is 25 frames a second of 8 packets each, sent back to back as encoders do, split like libwebrtc splits a frame
(sizes differ by one byte); every 50th frame opens as a VP8 key frame. Audio is one packet every 20 ms.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

VIDEO_SSRC, AUDIO_SSRC = 0x1000_0001, 0x1000_0002
VIDEO_PT, AUDIO_PT = 96, 111
FRAME_INTERVAL_S, AUDIO_INTERVAL_S = 0.04, 0.02
PACKETS_PER_FRAME = 8
VIDEO_PACKET_BYTES = 1150
AUDIO_PAYLOAD_BYTES = 160
KEYFRAME_EVERY = 50
PACKETS_PER_S = PACKETS_PER_FRAME / FRAME_INTERVAL_S + 1 / AUDIO_INTERVAL_S

# RFC 6386 9.1: three bytes of frame tag (key frame, shown), start code 9d 01 2a, 640x360.
KEYFRAME_START = bytes.fromhex("1002009d012a80026801")
INTER_START = bytes.fromhex("110200")


def rtp(payload_type: int, marker: bool, seq: int, timestamp: int, ssrc: int, payload: bytes) -> bytes:
    """An RTP packet (RFC 3550 5.1)."""
    return struct.pack("!BBHII", 0x80, payload_type | marker << 7, seq & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


@dataclass(frozen=True, slots=True)
class Burst:
    """Packets that leave together, `due_s` after the stream began."""

    due_s: float
    packets: list[bytes]


def bursts() -> Iterator[Burst]:
    """The stream without end, in order of time."""
    noise = os.urandom(VIDEO_PACKET_BYTES)
    video_seq = audio_seq = frame = tick = 0
    while True:
        frame_due_s, audio_due_s = frame * FRAME_INTERVAL_S, tick * AUDIO_INTERVAL_S
        if audio_due_s <= frame_due_s:
            payload = noise[:AUDIO_PAYLOAD_BYTES]
            yield Burst(audio_due_s, [rtp(AUDIO_PT, False, audio_seq, tick * 960, AUDIO_SSRC, payload)])
            tick, audio_seq = tick + 1, audio_seq + 1
            continue
        packets = []
        for place in range(PACKETS_PER_FRAME):
            # RFC 7741 4.2: X and (first packet) S; I with a 15-bit picture id.
            descriptor = struct.pack("!BBH", 0x90 if place == 0 else 0x80, 0x80, 0x8000 | frame & 0x7FFF)
            start = (KEYFRAME_START if frame % KEYFRAME_EVERY == 0 else INTER_START) if place == 0 else b""
            size_bytes = VIDEO_PACKET_BYTES - (place >= PACKETS_PER_FRAME // 2)
            fill = noise[: size_bytes - 12 - len(descriptor) - len(start)]
            last = place == PACKETS_PER_FRAME - 1
            packets.append(rtp(VIDEO_PT, last, video_seq, frame * 3600, VIDEO_SSRC, descriptor + start + fill))
            video_seq += 1
        yield Burst(frame_due_s, packets)
        frame += 1
