"""Writes one recording: cuts of its renditions into objects and the index; resumes what a dead writer left."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from media.recording.cutter import Cut, PartCut, RunBegan, SegmentCut
from media.recording.index import INDEX_NAME, Index
from media.recording.storage import Claim, Storage

# Names of objects are unguessable, so that any cache may serve them: 128 bits.
NAME_BYTES = 16
RECORDER_STOPPED = "recorder_stopped"
SOURCE_STOPPED = "source_stopped"


@dataclass(slots=True)
class _Growing:
    number: int
    name: str
    run: int
    size: int
    parts: int
    digest: Any


class RecordingWriter:
    """The only writer of a recording; what it does blocks for as long as the disk takes. OSError from the storage.

    A segment counts only when its line is in the index and both are synced.
    """

    def __init__(self, storage: Storage, recording: str, claim: Claim, now_ms: int) -> None:
        self.recording = recording
        self.index = Index()
        self.salvaged = 0
        self.resumed = False
        self._storage = storage
        self._claim = claim
        self._growing: dict[str, _Growing] = {}
        self._runs: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._resume(now_ms)

    @property
    def epoch_us(self) -> int:
        return self.index.epoch_ms * 1000

    def _resume(self, now_ms: int) -> None:
        try:
            data = self._storage.read(self.recording, INDEX_NAME)
        except FileNotFoundError:
            self._line("recording", recording=self.recording, epoch_ms=now_ms, version=1)
            self._storage.seal(self.recording, INDEX_NAME)
            return
        self.index.feed(data)
        if self.index.length < len(data):
            self._storage.cut(self.recording, INDEX_NAME, self.index.length)
        if not self.index.lines:
            self._line("recording", recording=self.recording, epoch_ms=now_ms, version=1)
        was_closed = self.index.closed_at_ms is not None
        for name, rendition in self.index.renditions.items():
            self._runs[name] = rendition.runs[-1].number
            if rendition.segments:
                self._numbers[name] = rendition.segments[-1].number
                if not rendition.segments[-1].whole:
                    self._salvage(name)
        if self.index.renditions and not was_closed:
            self.interrupted(self.index.ends_ms(), now_ms, RECORDER_STOPPED)
            self.resumed = True
        self._storage.seal(self.recording, INDEX_NAME)

    def _salvage(self, rendition: str) -> None:
        """Makes a segment of the whole parts that the dead writer left: they are fragments that play."""
        segment = self.index.renditions[rendition].segments[-1]
        size = segment.parts[-1].offset + segment.parts[-1].size
        data = self._storage.read(self.recording, segment.name)
        if len(data) > size:
            self._storage.cut(self.recording, segment.name, size)
        self._storage.seal(self.recording, segment.name)
        self.salvaged += 1
        self._line(
            "segment",
            rendition=rendition,
            segment=segment.number,
            sha256=hashlib.sha256(data[:size]).hexdigest(),
            size=min(size, len(data)),
            lost=0,
            salvaged=True,
            rtp_ts={},
        )

    def _line(self, what: str, **fields: Any) -> None:
        self._storage.append(self.recording, INDEX_NAME, self.index.line(what, **fields))

    def take(self, rendition: str, cut: Cut, lost: int = 0) -> None:
        """Writes one cut. `lost`: packets lost since the last segment, told with a `SegmentCut`."""
        match cut:
            case RunBegan():
                self._begin_run(rendition, cut)
            case PartCut():
                self._add_part(rendition, cut)
            case SegmentCut():
                self._seal_segment(rendition, cut, lost)

    def _begin_run(self, rendition: str, run: RunBegan) -> None:
        number = self._runs.get(rendition, 0) + 1
        name = f"{secrets.token_hex(NAME_BYTES)}.{run.container}"
        self._storage.append(self.recording, name, run.init)
        self._storage.seal(self.recording, name)
        self._runs[rendition] = number
        self._line(
            "run",
            rendition=rendition,
            number=number,
            init=name,
            container=run.container,
            codecs=run.codecs,
            width=run.width,
            height=run.height,
            at_ms=run.begins_us // 1000,
        )

    def _add_part(self, rendition: str, part: PartCut) -> None:
        growing = self._growing.get(rendition)
        if growing is None:
            number = self._numbers.get(rendition, -1) + 1
            self._numbers[rendition] = number
            suffix = "m4s" if self.index.renditions[rendition].runs[-1].container == "mp4" else "webm"
            name = f"{secrets.token_hex(NAME_BYTES)}.{suffix}"
            growing = self._growing[rendition] = _Growing(number, name, self._runs[rendition], 0, 0, hashlib.sha256())
        self._storage.append(self.recording, growing.name, part.data)
        growing.digest.update(part.data)
        # Only now: whoever finds the part in the index finds its bytes.
        self._line(
            "part",
            rendition=rendition,
            segment=growing.number,
            name=growing.name,
            offset=growing.size,
            size=len(part.data),
            at_ms=part.begins_us // 1000,
            duration_ms=part.duration_us / 1000,
            independent=part.independent,
        )
        growing.size += len(part.data)
        growing.parts += 1

    def _seal_segment(self, rendition: str, cut: SegmentCut, lost: int) -> None:
        growing = self._growing.pop(rendition, None)
        if growing is None:
            return
        self._storage.seal(self.recording, growing.name)
        self._line(
            "segment",
            rendition=rendition,
            segment=growing.number,
            sha256=growing.digest.hexdigest(),
            size=growing.size,
            lost=lost,
            salvaged=False,
            rtp_ts=cut.rtp_ts,
        )
        self._storage.seal(self.recording, INDEX_NAME)

    def interrupted(self, from_ms: int, to_ms: int, reason: str) -> None:
        self._line("interrupted", from_ms=from_ms, to_ms=to_ms, reason=reason)

    def close(self, now_ms: int) -> str:
        """Ends the recording for good (a later run opens it again); the hash that stands for all of it."""
        self._line("closed", at_ms=now_ms)
        self._storage.seal(self.recording, INDEX_NAME)
        self._claim.release()
        return self.index.head

    def abandon(self) -> None:
        """Lets another recorder take over; nothing is closed."""
        self._claim.release()
