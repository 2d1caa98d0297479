"""One rendition as it arrives: packets of its tracks put in order, made frames, cut; and what to ask the sender for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from media.recording.cutter import Cut, Cutter
from media.recording.frames import AudioFrames, VideoFrames
from media.recording.reorder import Packet, Reorder

# A key frame is asked for when the last one is this old, so that segments can end near their aim.
KEY_EVERY_US = 3_400_000
KEY_AGAIN_US = 1_000_000


@dataclass(slots=True)
class Track:
    """One m-line of the subscription."""

    line: int
    kind: str
    frames: AudioFrames | VideoFrames
    reorder: Reorder = field(default_factory=Reorder)
    newest_us: int = 0
    key_us: int = 0
    asked_us: int = 0
    reported: tuple[int, int] = (0, 0)  # (received, lost) at the last receiver report

    def loss_since_report(self) -> float:
        received = self.reorder.packets - self.reported[0]
        lost = self.reorder.lost - self.reported[1]
        self.reported = (self.reorder.packets, self.reorder.lost)
        return lost / (received + lost) if received + lost else 0.0


class Intake:
    """`tracks` of one rendition on one subscription; another subscription needs another intake."""

    def __init__(self, name: str, tracks: list[Track], epoch_us: int) -> None:
        self.name = name
        self.tracks = tracks
        self.cutter = Cutter(epoch_us, len(tracks))
        self._lost_told = 0

    @property
    def newest_us(self) -> int:
        return max(track.newest_us for track in self.tracks)

    def packet(self, track: Track, packet: Packet) -> Iterator[Cut]:
        track.newest_us = packet.arrival_us
        track.reorder.add(packet)
        yield from self._drain(track, packet.arrival_us)

    def report(self, track: Track, ntp_us: int, rtp_ts: int) -> None:
        self.cutter.report(track.kind, ntp_us, track.reorder.extend_ts(rtp_ts))

    def tick(self, now_us: int) -> Iterator[Cut]:
        for track in self.tracks:
            yield from self._drain(track, now_us)
        yield from self.cutter.tick(now_us)

    def _drain(self, track: Track, now_us: int) -> Iterator[Cut]:
        for item in track.reorder.take(now_us):
            frame = track.frames.push(item)
            if frame is not None:
                if frame.config is not None:
                    track.key_us = now_us
                yield from self.cutter.push(frame)

    def wants_keyframe(self, track: Track, now_us: int) -> bool:
        """Whether to ask now; noted as asked. Only while packets come: a camera that is off has none to send."""
        if not isinstance(track.frames, VideoFrames) or now_us - track.newest_us > 10 * KEY_AGAIN_US:
            return False
        due = track.frames.needs_key or now_us - track.key_us >= KEY_EVERY_US
        if not due or now_us - track.asked_us < KEY_AGAIN_US:
            return False
        track.asked_us = now_us
        return True

    def lost_since_told(self) -> int:
        lost = sum(track.reorder.lost for track in self.tracks)
        told, self._lost_told = self._lost_told, lost
        return lost - told
