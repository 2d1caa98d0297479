"""Playlists over an index (RFC 8216, and 8216bis for parts): pure text, for live, for replay, for one who may seek."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil

from media.recording.index import Part, Rendition, Run, Segment
from media.recording.timing import PART_US, SEGMENT_LONGEST_US

TARGET_S = ceil(SEGMENT_LONGEST_US / 1_000_000) + 1
# A part ends with the first frame after its aim; slow pictures (a shared screen) may take a while longer.
PART_TARGET_S = PART_US / 1_000_000 + 0.5
# 8216bis 4.4.3.8: at least three part targets behind the end.
PART_HOLD_BACK_S = 3 * PART_TARGET_S
LIVE_SEGMENTS = 8
SEGMENTS_WITH_PARTS = 3  # 8216bis 4.4.4.9: parts are listed for the last three target durations
KEPT_SEGMENTS = 400


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a player gets a run's beginning, a whole segment, one part of one."""

    init: Callable[[Run], str]
    segment: Callable[[Segment], str]
    part: Callable[[Segment, int], str]


def playable(rendition: Rendition) -> list[Segment]:
    """The segments that HLS can carry: VP8 is not among them (RFC 8216 3)."""
    return [segment for segment in rendition.segments if segment.run.container == "mp4"]


def stands(rendition: Rendition, number: int, part: int | None) -> bool:
    """Whether segment `number`, or its part `part`, is there for a player that waits for it (8216bis 6.2.5.2)."""
    segments = playable(rendition)
    if not segments:
        return False
    newest = segments[-1]
    if number < newest.number or (number == newest.number and newest.whole):
        return True
    return number == newest.number and part is not None and part < len(newest.parts)


def live_playlist(rendition: Rendition, addresses: Addresses, *, ended: bool) -> str:
    """The last segments with the parts of the newest."""
    every = playable(rendition)
    listed = every[-LIVE_SEGMENTS:]
    lines = _head(9, listed, every)
    lines.insert(3, f"#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={PART_HOLD_BACK_S:.3f}")
    lines.insert(4, f"#EXT-X-PART-INF:PART-TARGET={PART_TARGET_S:.3f}")
    run: Run | None = None
    for place, segment in enumerate(listed):
        lines += _boundary(segment, run, addresses)
        run = segment.run
        if len(listed) - place <= SEGMENTS_WITH_PARTS:
            for number, part in enumerate(segment.parts):
                lines.append(_part(part, addresses.part(segment, number)))
        if segment.whole:
            lines += _whole(segment, addresses)
    if ended:
        lines.append("#EXT-X-ENDLIST")
    elif listed and not listed[-1].whole:
        hinted = addresses.part(listed[-1], len(listed[-1].parts))
        lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{hinted}"')
    return "\n".join(lines) + "\n"


def replay_playlist(segments: Sequence[Segment], addresses: Addresses, *, ended: bool) -> str:
    """Whole segments from the first on; `ended` when there will be no more of them."""
    lines = _head(7, segments, segments)
    lines.append(f"#EXT-X-PLAYLIST-TYPE:{'VOD' if ended else 'EVENT'}")
    run: Run | None = None
    for segment in segments:
        lines += [*_boundary(segment, run, addresses), *_whole(segment, addresses)]
        run = segment.run
    if ended:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def _head(version: int, listed: Sequence[Segment], every: Sequence[Segment]) -> list[str]:
    first = listed[0].number if listed else 0
    runs = dict.fromkeys(segment.run.number for segment in every if segment.number <= first)
    return [
        "#EXTM3U",
        f"#EXT-X-VERSION:{version}",
        f"#EXT-X-TARGETDURATION:{TARGET_S}",
        f"#EXT-X-MEDIA-SEQUENCE:{first}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{max(0, len(runs) - 1)}",
    ]


def _boundary(segment: Segment, run: Run | None, addresses: Addresses) -> list[str]:
    lines = []
    if run is not segment.run:
        if run is not None:
            lines.append("#EXT-X-DISCONTINUITY")
        lines.append(f'#EXT-X-MAP:URI="{addresses.init(segment.run)}"')
    at = datetime.fromtimestamp(segment.at_ms / 1000, UTC)
    lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{at.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}")
    return lines


def _part(part: Part, address: str) -> str:
    independent = ",INDEPENDENT=YES" if part.independent else ""
    return f'#EXT-X-PART:DURATION={part.duration_ms / 1000:.5f},URI="{address}"{independent}'


def _whole(segment: Segment, addresses: Addresses) -> list[str]:
    return [f"#EXTINF:{segment.duration_ms / 1000:.5f},", addresses.segment(segment)]
