"""Frames of one rendition → runs, segments, parts. Sans-IO: frames in, `RunBegan`, `PartCut` and `SegmentCut` out.

A run is a stretch with the same tracks and codecs and an unbroken clock; each has its own initialisation segment, and
a player sees a discontinuity between two. Segments begin at key frames; parts are what a low-latency player gets early.
All decode times count from the recording's epoch, so that sound, picture, screen and the class's events share a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from media.recording import fmp4, webm
from media.recording.fmp4 import AUDIO_RATE_HZ, AUDIO_TRACK, VIDEO_RATE_HZ, VIDEO_TRACK, H264Config, Sample, TrackPiece
from media.recording.fmp4 import VideoConfig as Config
from media.recording.frames import Frame
from media.recording.timing import PART_US, SEGMENT_LONGEST_US, SEGMENT_US

SETTLE_US = 1_500_000  # how long the start of a run waits for the second track and for sender reports
SILENT_US = 2_000_000  # a rendition without any packet for so long ends its run
TRACK_SILENT_US = 4_000_000  # a track that is silent for so long while the other goes on is taken out of the run
BACKLOG_US = 8_000_000
# Media time and the wall clock may drift apart this far before a run ends: sound cards are some 50 ppm off.
DRIFT_US = 500_000
# Picture is moved to sound by at most this much a segment once they are apart by more than people see (ITU-R BT.1359).
SLEW_US, SLEW_FROM_US = 10_000, 30_000
# RFC 6716: the 20 ms packet that decodes to silence; it stands where packets are missing (lost, or DTX).
OPUS_SILENCE = b"\xf8\xff\xfe"
OPUS_SILENCE_TS = 960


@dataclass(frozen=True, slots=True)
class RunBegan:
    init: bytes
    container: str  # "mp4" or "webm"
    codecs: str  # as RFC 6381 lists them
    width: int
    height: int
    begins_us: int  # wall clock


@dataclass(frozen=True, slots=True)
class PartCut:
    data: bytes
    begins_us: int  # wall clock
    duration_us: int
    independent: bool  # begins with a key frame


@dataclass(frozen=True, slots=True)
class SegmentCut:
    """The parts since the last one make a segment. RTP times are of each track's first sample, 64-bit."""

    begins_us: int
    duration_us: int
    rtp_ts: dict[str, int]


Cut = RunBegan | PartCut | SegmentCut


@dataclass(slots=True)
class _Line:
    """One track as it arrives: its clock against the wall clock, and frames whose duration is not known yet."""

    rate_hz: int
    ntp: tuple[int, int] | None = None  # (NTP µs, 64-bit RTP time) of the newest sender report
    offset_us: int = 0  # wall clock = offset + RTP time; set when a run begins
    held: Frame | None = None
    samples: list[Sample] = field(default_factory=list)
    decode_ts: int = 0  # of samples[0], in ticks from the epoch
    next_ts: int = 0  # decode time after the last sample
    first_rtp_ts: int | None = None  # of this segment
    last_arrival_us: int = 0
    least_us: int | None = None  # the least (arrival - RTP time) of this segment: the packets that were not delayed

    def media_us(self, ts: int) -> int:
        return ts * 1_000_000 // self.rate_hz

    def wall_us(self, ts: int) -> int:
        return self.offset_us + self.media_us(ts)

    def heard(self, frame: Frame) -> None:
        self.last_arrival_us = frame.arrival_us
        ahead_us = frame.arrival_us - self.media_us(frame.ts)
        self.least_us = ahead_us if self.least_us is None else min(self.least_us, ahead_us)


class Cutter:
    """One rendition. `epoch_us`: wall clock of decode time 0, the same for all renditions of a recording."""

    def __init__(self, epoch_us: int, tracks: int) -> None:
        """`tracks`: how many there will usually be; a run that has that many begins without waiting."""
        self.silent_fill = 0  # silent Opus packets put in
        self._epoch_us = epoch_us
        self._tracks = tracks
        self._drifted = False
        self._audio = _Line(AUDIO_RATE_HZ)
        self._video = _Line(VIDEO_RATE_HZ)
        self._waiting: deque[Frame] = deque()
        self._waiting_since_us = 0
        self._config: Config | None = None
        self._running = False
        self._has_audio = False
        self._segment_us = 0
        self._part_us = 0
        self._part_key = True
        self._fragments = 0

    @property
    def running(self) -> bool:
        return self._running

    def report(self, kind: str, ntp_us: int, ext_ts: int) -> None:
        """A sender report of a track: its source's clock beside its RTP time."""
        (self._audio if kind == "audio" else self._video).ntp = (ntp_us, ext_ts)

    def push(self, frame: Frame) -> Iterator[Cut]:
        """Takes the next frame of a track; each track in order, tracks in any order."""
        line = self._line(frame)
        line.heard(frame)
        if not self._running:
            yield from self._wait(frame)
            return
        if self._is_new_run(frame, line):
            yield from self.finish()
            self._line(frame).heard(frame)
            yield from self._wait(frame)
            return
        yield from self._place(frame, line)

    def tick(self, now_us: int) -> Iterator[Cut]:
        """To be called a few times a second: ends what has fallen silent, begins what has waited long enough."""
        newest_us = max(self._audio.last_arrival_us, self._video.last_arrival_us)
        if not self._running:
            if self._waiting and now_us - self._waiting_since_us >= SETTLE_US:
                yield from self._begin(now_us)
        elif now_us - newest_us > SILENT_US or self._one_is_silent(newest_us):
            yield from self.finish()

    def _one_is_silent(self, newest_us: int) -> bool:
        if not self._has_audio or self._config is None:
            return False
        return newest_us - min(self._audio.last_arrival_us, self._video.last_arrival_us) > TRACK_SILENT_US

    def finish(self) -> Iterator[Cut]:
        """Ends the run; what is still held goes out with the duration it has."""
        if not self._running:
            return
        for line in (self._audio, self._video):
            if line.held is not None:
                usual = line.samples[-1].duration if line.samples else line.rate_hz // 30
                self._store(line, line.held, line.held.duration_ts or usual)
                line.held = None
        end_us = max(self._end_us(line) for line in self._lines())
        yield from self._cut_part(end_us, True)
        yield self._cut_segment(end_us)
        self._running = False
        self._waiting.clear()
        self._audio, self._video = _Line(AUDIO_RATE_HZ), _Line(VIDEO_RATE_HZ)

    # Beginning -----------------------------------------------------------------------------------------------------

    def _line(self, frame: Frame) -> _Line:
        return self._audio if frame.codec == "opus" else self._video

    def _lines(self) -> list[_Line]:
        return [self._video] * (self._config is not None) + [self._audio] * self._has_audio

    def _wait(self, frame: Frame) -> Iterator[Cut]:
        if not self._waiting:
            self._waiting_since_us = frame.arrival_us
        self._waiting.append(frame)
        while frame.arrival_us - self._waiting[0].arrival_us > BACKLOG_US:
            self._waiting.popleft()
        kinds = {waiting.codec == "opus" for waiting in self._waiting}
        reported = self._tracks == 1 or (self._audio.ntp is not None and self._video.ntp is not None)
        if (len(kinds) == self._tracks and reported) or frame.arrival_us - self._waiting_since_us >= SETTLE_US:
            yield from self._begin(frame.arrival_us)

    def _begin(self, now_us: int) -> Iterator[Cut]:
        frames = list(self._waiting)
        first_key = next((place for place, frame in enumerate(frames) if frame.config is not None), None)
        has_video = any(frame.codec != "opus" for frame in frames)
        self._has_audio = any(frame.codec == "opus" for frame in frames)
        if has_video and first_key is None and (not self._has_audio or now_us - self._waiting_since_us < 2 * SETTLE_US):
            return  # a key frame was asked for and is on its way
        self._config = None if first_key is None else frames[first_key].config
        self._anchor(frames)
        kept = self._kept(frames, first_key)
        if not kept:
            return
        self._waiting.clear()
        begins_us = min(self._line(frame).wall_us(frame.ts) for frame in kept)
        self._running, self._segment_us, self._part_us, self._part_key = True, begins_us, begins_us, True
        self._drifted = False
        for line in (self._audio, self._video):
            line.samples, line.held, line.least_us, line.next_ts, line.first_rtp_ts = [], None, None, 0, None
        yield self._run_began(begins_us)
        for frame in kept:
            yield from self._place(frame, self._line(frame))

    def _kept(self, frames: list[Frame], first_key: int | None) -> list[Frame]:
        """From the first key frame on; sound from the same moment."""
        if first_key is None:
            return [frame for frame in frames if frame.codec == "opus"]
        key = frames[first_key]
        begins_us = self._video.wall_us(key.ts)
        return [
            frame
            for place, frame in enumerate(frames)
            if (place >= first_key if frame.codec != "opus" else self._audio.wall_us(frame.ts) >= begins_us)
        ]

    def _anchor(self, frames: list[Frame]) -> None:
        """Lays both tracks' clocks on the wall clock: the least delayed packet of each, sound and picture together
        by their sender reports where both have come (RFC 3550 6.4.1)."""
        for line, is_audio in ((self._audio, True), (self._video, False)):
            ahead = [f.arrival_us - line.media_us(f.ts) for f in frames if (f.codec == "opus") is is_audio]
            line.offset_us = min(ahead) if ahead else 0
        if self._has_audio and self._config is not None:
            self._video.offset_us += self._apart_us()

    def _apart_us(self) -> int:
        """How much later picture has to be for it to be with its sound; 0 while that is not known."""
        if self._audio.ntp is None or self._video.ntp is None:
            return 0
        (audio_ntp_us, audio_ts), (video_ntp_us, video_ts) = self._audio.ntp, self._video.ntp
        wanted_us = self._audio.wall_us(audio_ts) + video_ntp_us - audio_ntp_us
        apart_us = wanted_us - self._video.wall_us(video_ts)
        # Further apart than a second are only reports of two different sources.
        return apart_us if abs(apart_us) <= 1_000_000 else 0

    def _run_began(self, begins_us: int) -> RunBegan:
        config = self._config
        codecs = [] if config is None else [config.codec]
        codecs += ["opus"] * self._has_audio
        width, height = (0, 0) if config is None else (config.width, config.height)
        if config is None or isinstance(config, H264Config):
            init, container = fmp4.init_segment(config, audio=self._has_audio), "mp4"
        else:
            init, container = webm.init_segment(config, audio=self._has_audio), "webm"
        return RunBegan(init, container, ",".join(codecs), width, height, begins_us)

    def _is_new_run(self, frame: Frame, line: _Line) -> bool:
        if frame.codec == "opus":
            if not self._has_audio:
                return True
        elif self._config is None or (frame.config is not None and frame.config != self._config):
            return frame.config is not None
        # The source was replaced, or its clock jumped: what follows is on another clock.
        ahead_us = frame.arrival_us - line.wall_us(frame.ts)
        behind = line.held is not None and frame.ts <= line.held.ts
        return behind or ahead_us < -DRIFT_US or self._drifted

    # Placing -------------------------------------------------------------------------------------------------------

    def _place(self, frame: Frame, line: _Line) -> Iterator[Cut]:
        if line is self._video and self._config is None:
            return  # sound only, until a key frame begins a run with picture
        held, line.held = line.held, frame
        if held is None:
            line.next_ts = max(line.next_ts, self._ticks(line, frame.ts))
            line.decode_ts = line.next_ts
        else:
            self._store_until(line, held, frame)
        now_us = line.wall_us(frame.ts)
        if line is not self._lines()[0]:
            return
        if now_us - self._segment_us >= (SEGMENT_US if frame.is_key else SEGMENT_LONGEST_US):
            yield from self._cut_part(now_us, frame.is_key)
            yield self._cut_segment(now_us)
            self._slew(line, frame)
        elif now_us - self._part_us >= PART_US:
            yield from self._cut_part(now_us, frame.is_key)

    def _ticks(self, line: _Line, ts: int) -> int:
        """Decode time of an RTP time, in ticks from the epoch."""
        return max(0, (line.wall_us(ts) - self._epoch_us) * line.rate_hz // 1_000_000)

    def _store_until(self, line: _Line, held: Frame, following: Frame) -> None:
        if line is self._video:
            self._store(line, held, max(1, self._ticks(line, following.ts) - line.next_ts))
            return
        gap_ts = following.ts - held.ts
        # Uncertain by a few samples only when a sender's clock is restarted; then silence fills or nothing does.
        while gap_ts - held.duration_ts >= OPUS_SILENCE_TS // 2 and held.duration_ts:
            self._store(line, held, held.duration_ts)
            gap_ts -= held.duration_ts
            held = Frame("opus", OPUS_SILENCE, 0, 0, duration_ts=min(OPUS_SILENCE_TS, gap_ts))
            self.silent_fill += 1
        self._store(line, held, max(1, gap_ts))

    def _store(self, line: _Line, frame: Frame, duration: int) -> None:
        if not line.samples:
            line.decode_ts = line.next_ts
        if line.first_rtp_ts is None:
            line.first_rtp_ts = frame.ts
        line.samples.append(Sample(frame.data, duration, frame.is_key))
        line.next_ts += duration

    def _end_us(self, line: _Line) -> int:
        return self._epoch_us + line.next_ts * 1_000_000 // line.rate_hz

    def _cut_part(self, end_us: int, next_is_key: bool) -> Iterator[Cut]:
        pieces = [
            TrackPiece(VIDEO_TRACK if line is self._video else AUDIO_TRACK, line.decode_ts, line.samples)
            for line in self._lines()
            if line.samples
        ]
        if not pieces:
            return
        self._fragments += 1
        is_mp4 = self._config is None or isinstance(self._config, H264Config)
        data = fmp4.fragment(self._fragments, pieces) if is_mp4 else webm.cluster(pieces)
        yield PartCut(data, self._part_us, max(1, end_us - self._part_us), self._part_key)
        for line in (self._audio, self._video):
            line.samples = []
            line.decode_ts = line.next_ts
        self._part_us, self._part_key = end_us, next_is_key

    def _cut_segment(self, end_us: int) -> SegmentCut:
        firsts = {"video": self._video.first_rtp_ts, "audio": self._audio.first_rtp_ts}
        known = {name: rtp_ts for name, rtp_ts in firsts.items() if rtp_ts is not None}
        cut = SegmentCut(self._segment_us, max(1, end_us - self._segment_us), known)
        self._segment_us = end_us
        for line in (self._audio, self._video):
            late_us = 0 if line.least_us is None else line.least_us - line.offset_us
            self._drifted = self._drifted or late_us > DRIFT_US
            line.least_us = line.first_rtp_ts = None
        return cut

    def _slew(self, line: _Line, frame: Frame) -> None:
        """Moves picture towards its sound a little; only between segments, and never so that time stands still."""
        if line is not self._video or not self._has_audio:
            return
        apart_us = self._apart_us()
        if abs(apart_us) > SLEW_FROM_US:
            line.offset_us += max(-SLEW_US, min(SLEW_US, apart_us))
