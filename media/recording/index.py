"""A recording's index: one JSON line for everything that was written, each with the hash of the line before.

The index alone says what a recording is: playlists, replay and the recorder that resumes after a crash all read it.
A last line that is not whole (the writer died in it) is no line.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

INDEX_NAME = "index.jsonl"
TIMELINE_NAME = "timeline.json"  # the class's events, beside the segments once the recording is closed
FIRST_HASH = "0" * 64


class BrokenIndex(ValueError):
    """A line that does not follow from the one before: the recording was changed after it was written."""


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch without a break, with its own initialisation segment."""

    number: int
    init: str
    container: str
    codecs: str
    width: int
    height: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes `offset` … `offset + size` of its segment's object. `at_ms`: wall clock of its first frame."""

    offset: int
    size: int
    at_ms: int
    duration_ms: float
    independent: bool


@dataclass(slots=True)
class Segment:
    """`sha256` is empty while it still grows. `lost`: packets that never came, over all tracks."""

    number: int
    run: Run
    name: str
    parts: list[Part] = field(default_factory=list)
    sha256: str = ""
    size: int = 0
    lost: int = 0
    salvaged: bool = False

    @property
    def at_ms(self) -> int:
        return self.parts[0].at_ms

    @property
    def duration_ms(self) -> float:
        return sum(part.duration_ms for part in self.parts)

    @property
    def whole(self) -> bool:
        return bool(self.sha256)


@dataclass(slots=True)
class Rendition:
    name: str
    segments: list[Segment] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)


@dataclass(slots=True)
class Interruption:
    """Time that is not in the recording, and why: `recorder_stopped`, `source_stopped`."""

    from_ms: int
    to_ms: int
    reason: str


@dataclass(slots=True)
class Index:
    """What the lines read so far say. `head` is the hash of the newest one."""

    recording: str = ""
    epoch_ms: int = 0
    renditions: dict[str, Rendition] = field(default_factory=dict)
    interruptions: list[Interruption] = field(default_factory=list)
    closed_at_ms: int | None = None
    head: str = FIRST_HASH
    lines: int = 0
    length: int = 0  # bytes of whole lines

    def feed(self, data: bytes) -> int:
        """Takes what was appended since `length`; how many lines were whole. BrokenIndex."""
        taken = 0
        for line in data.split(b"\n")[:-1]:
            try:
                fields = json.loads(line)
            except ValueError:
                raise BrokenIndex(f"line {self.lines + 1} is not JSON") from None
            if not isinstance(fields, dict) or fields.get("prev") != self.head:
                raise BrokenIndex(f"line {self.lines + 1} does not follow from the line before")
            self._apply(fields)
            self.head = hashlib.sha256(line).hexdigest()
            self.lines += 1
            self.length += len(line) + 1
            taken += 1
        return taken

    def line(self, what: str, **fields: Any) -> bytes:
        """The next line as bytes; also taken in."""
        text = json.dumps({"what": what, **fields, "prev": self.head}, ensure_ascii=True, separators=(",", ":"))
        data = text.encode() + b"\n"
        self.feed(data)
        return data

    def _apply(self, fields: dict[str, Any]) -> None:
        match fields["what"]:
            case "recording":
                self.recording, self.epoch_ms = fields["recording"], fields["epoch_ms"]
            case "run":
                rendition = self.renditions.setdefault(fields["rendition"], Rendition(fields["rendition"]))
                names = ("number", "init", "container", "codecs", "width", "height", "at_ms")
                rendition.runs.append(Run(**{name: fields[name] for name in names}))
                self.closed_at_ms = None
            case "part":
                self._part(self.renditions[fields["rendition"]], fields)
            case "segment":
                segment = self.renditions[fields["rendition"]].segments[-1]
                segment.sha256, segment.size, segment.lost = fields["sha256"], fields["size"], fields["lost"]
                segment.salvaged = fields["salvaged"]
            case "interrupted":
                self.interruptions.append(Interruption(fields["from_ms"], fields["to_ms"], fields["reason"]))
            case "closed":
                self.closed_at_ms = fields["at_ms"]

    def _part(self, rendition: Rendition, fields: dict[str, Any]) -> None:
        if not rendition.segments or rendition.segments[-1].number != fields["segment"]:
            rendition.segments.append(Segment(fields["segment"], rendition.runs[-1], fields["name"]))
        segment = rendition.segments[-1]
        segment.parts.append(
            Part(fields["offset"], fields["size"], fields["at_ms"], fields["duration_ms"], fields["independent"])
        )

    def ends_ms(self) -> int:
        """Wall clock of the end of the newest part; the epoch before the first."""
        ends = [
            part.at_ms + part.duration_ms
            for rendition in self.renditions.values()
            for segment in rendition.segments[-1:]
            for part in segment.parts[-1:]
        ]
        return int(max(ends, default=self.epoch_ms))

    def size(self) -> int:
        """Bytes of all whole segments."""
        return sum(segment.size for rendition in self.renditions.values() for segment in rendition.segments)
