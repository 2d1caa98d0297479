"""The recorder's sans-IO parts: order and loss, frames, cuts, index. No network, no clock."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import MediaError
from media.recording.cutter import Cut, Cutter, PartCut, RunBegan, SegmentCut
from media.recording.fmp4 import Vp8Config
from media.recording.frames import (
    Frame,
    VideoFrames,
    opus_duration_untrusted,
    picture_size_untrusted,
    vp8_config_untrusted,
)
from media.recording.index import BrokenIndex, Index
from media.recording.reorder import PATIENCE_US, Lost, Packet, Reorder

SILENCE = b"\xf8\xff\xfe"


def packet(seq: int, at_us: int = 0, ts: int | None = None) -> Packet:
    return Packet(96, True, seq & 0xFFFF, (seq * 3000 if ts is None else ts) & 0xFFFF_FFFF, b"x", at_us)


@given(st.integers(0, 0xFFFF), st.permutations(range(12)), st.sets(st.integers(1, 10), max_size=4))
def test_packets_come_out_in_order_and_holes_once_patience_is_over(
    first: int, order: list[int], missing: set[int]
) -> None:
    reorder = Reorder()
    reorder.add(packet(first))
    taken = list(reorder.take(0))
    for place in order:
        if place not in missing and place > 0:
            reorder.add(packet(first + place, 1000))
            taken += reorder.take(1000)
    asked = set(reorder.missing(2000))
    last = max(place for place in range(12) if place not in missing)
    assert asked == {(first + place) & 0xFFFF for place in missing if place < last}
    assert reorder.missing(2001) == [], "not asked again at once"
    taken += reorder.take(1000 + PATIENCE_US)
    seqs = [item.seq for item in taken if isinstance(item, Packet)]
    assert seqs == [(first + place) & 0xFFFF for place in range(12) if place not in missing]
    stamps = [item.ext_ts for item in taken if isinstance(item, Packet)]
    assert stamps == sorted(stamps) and len(set(stamps)) == len(stamps)
    assert sum(item.packets for item in taken if isinstance(item, Lost)) == len(
        [place for place in missing if place < last]
    )


def test_a_stream_that_begins_anew_is_not_a_loss() -> None:
    reorder = Reorder()
    for seq in (10, 11, 40_000, 40_001):
        reorder.add(packet(seq))
    assert [item.seq for item in reorder.take(0) if isinstance(item, Packet)] == [40_000, 40_001]
    assert reorder.lost == 0


@given(st.binary(max_size=64))
def test_readers_of_payloads_fail_only_with_media_errors(data: bytes) -> None:
    for read in (opus_duration_untrusted, vp8_config_untrusted, picture_size_untrusted):
        try:
            read(data)
        except MediaError:
            pass


def test_after_a_loss_no_frame_counts_until_the_next_key_frame() -> None:
    frames = VideoFrames({96: "vp8"})
    key, delta = b"\x10\x00\x00\x00\x9d\x01\x2a\x40\x01\xf0\x00", b"\x10\x01\x00"
    sent = [key, delta, None, delta, key, delta]
    out = []
    for place, payload in enumerate(sent):
        item = Lost(1) if payload is None else Packet(96, True, place, place * 3000, payload, 0, place * 3000)
        out.append(frames.push(item))
    assert [frame is not None for frame in out] == [True, True, False, False, True, True]
    assert out[0] is not None and out[0].config == Vp8Config(320, 240)


class Lecture:
    """Frames of a made-up sender: 20 ms of sound, pictures at 12.5 fps, a key frame every second."""

    def __init__(self, audio_ts0: int = 1 << 33, video_ts0: int = 1 << 34) -> None:
        self.audio_ts0, self.video_ts0 = audio_ts0, video_ts0

    def frames(self, from_s: float, to_s: float, offset_us: int = 1_000_000_000) -> list[tuple[int, Frame]]:
        found = []
        for n in range(round(from_s * 50), round(to_s * 50)):
            at_us = offset_us + n * 20_000
            found.append((at_us, Frame("opus", SILENCE, self.audio_ts0 + n * 960, at_us, duration_ts=960)))
        for n in range(round(from_s * 12.5), round(to_s * 12.5)):
            at_us = offset_us + n * 80_000
            is_key = n % 12 == 0
            config = Vp8Config(320, 240) if is_key else None
            frame = Frame("vp8", b"\x00" * 20, self.video_ts0 + n * 7200, at_us, is_key, config=config)
            found.append((at_us + 1, frame))
        return sorted(found, key=lambda item: item[0])


def run(cutter: Cutter, frames: list[tuple[int, Frame]]) -> list[Cut]:
    cuts: list[Cut] = []
    for at_us, frame in frames:
        cuts += cutter.push(frame)
        cuts += cutter.tick(at_us)
    return cuts


def test_segments_begin_at_key_frames_and_parts_cover_them_without_gaps() -> None:
    cutter, lecture = Cutter(1_000_000_000, 2), Lecture()
    cutter.report("audio", 77_000_000, lecture.audio_ts0)
    cutter.report("video", 77_000_000, lecture.video_ts0)
    cuts = run(cutter, lecture.frames(0, 20)) + list(cutter.finish())
    assert [type(cut).__name__ for cut in cuts].count("RunBegan") == 1 and isinstance(cuts[0], RunBegan)
    segments = [cut for cut in cuts if isinstance(cut, SegmentCut)]
    parts = [cut for cut in cuts if isinstance(cut, PartCut)]
    assert 4 <= len(segments) <= 6
    assert all(3_500_000 <= segment.duration_us <= 6_000_000 for segment in segments[:-1])
    assert sum(part.duration_us for part in parts) == sum(segment.duration_us for segment in segments)
    ends_us = parts[0].begins_us
    for part in parts:
        assert abs(part.begins_us - ends_us) <= 1
        ends_us = part.begins_us + part.duration_us
    begins = {segment.begins_us for segment in segments}
    assert all(part.independent for part in parts if part.begins_us in begins)
    assert abs(ends_us - 1_020_000_000) < 100_000


def test_sound_and_picture_are_laid_together_by_sender_reports() -> None:
    cutter, lecture = Cutter(1_000_000_000, 2), Lecture()
    # The picture takes 300 ms longer to arrive than the sound of the same moment.
    late = []
    for at_us, frame in lecture.frames(0, 8):
        at_us += 300_000 * (frame.codec == "vp8")
        late.append((at_us, replace(frame, arrival_us=at_us)))
    late.sort(key=lambda item: item[0])
    cutter.report("audio", 5_000_000, lecture.audio_ts0)
    cutter.report("video", 5_000_000, lecture.video_ts0)
    cuts = run(cutter, late) + list(cutter.finish())
    data = b"".join(
        cut.init if isinstance(cut, RunBegan) else cut.data for cut in cuts if not isinstance(cut, SegmentCut)
    )
    first = {}
    with av.open(io.BytesIO(data)) as container:
        for each in container.demux():
            if each.pts is not None:
                first.setdefault(each.stream.type, each.pts * each.time_base)
    assert abs(first["video"] - first["audio"]) <= Fraction(25, 1000)


def test_a_source_that_begins_anew_or_falls_silent_ends_the_run() -> None:
    cutter = Cutter(1_000_000_000, 2)
    cuts = run(cutter, Lecture().frames(0, 6))
    cuts += run(cutter, Lecture(5, 9).frames(0, 6, 1_006_100_000))
    cuts += cutter.tick(1_020_000_000)
    runs = [cut for cut in cuts if isinstance(cut, RunBegan)]
    assert len(runs) == 2 and not cutter.running
    assert runs[1].begins_us - runs[0].begins_us > 6_000_000
    assert isinstance(cuts[-1], SegmentCut)


def test_sound_alone_is_recorded_and_missing_sound_becomes_silence() -> None:
    cutter, lecture = Cutter(1_000_000_000, 2), Lecture()
    sound = [(at, frame) for at, frame in lecture.frames(0, 10) if frame.codec == "opus"]
    with_hole = [(at, frame) for at, frame in sound if not 5_000_000 <= at - 1_000_000_000 < 5_400_000]
    cuts = run(cutter, with_hole) + list(cutter.finish())
    begun = [cut for cut in cuts if isinstance(cut, RunBegan)]
    assert [item.codecs for item in begun] == ["opus"]
    assert cutter.silent_fill == 20
    data = begun[0].init + b"".join(cut.data for cut in cuts if isinstance(cut, PartCut))
    with av.open(io.BytesIO(data)) as container:
        assert len([each for each in container.demux() if each.pts is not None]) == 500


def test_an_index_is_read_back_and_a_changed_line_is_found() -> None:
    index = Index()
    text = index.line("recording", recording="l1", epoch_ms=5, version=1)
    text += index.line(
        "run", rendition="camera", number=1, init="a.mp4", container="mp4", codecs="opus", width=0, height=0, at_ms=7
    )
    text += index.line(
        "part", rendition="camera", segment=0, name="b.m4s", offset=0, size=9, at_ms=7, duration_ms=1000.0,
        independent=True,
    )  # fmt: skip
    text += index.line("segment", rendition="camera", segment=0, sha256="ab", size=9, lost=0, salvaged=False, rtp_ts={})
    again = Index()
    assert again.feed(text + b'{"what":"torn') == 4
    assert again.head == index.head and again.length == len(text)
    assert again.renditions["camera"].segments[0].whole and again.ends_ms() == 1007
    with pytest.raises(BrokenIndex):
        Index().feed(text.replace(b'"size":9', b'"size":8', 1))
