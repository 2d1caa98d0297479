"""Samples of media counters → stretches of time in which a learner's picture really flowed. Pure bookkeeping.

A connection that stays open proves nothing; only bytes that arrived between two samples do.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One publication's video at the moment of sampling, as its media node counted it."""

    payload_bytes: int
    last_packet_age_ms: int | None


@dataclass
class _Line:
    payload_bytes: int
    sampled_at_ms: int
    flowed_at_ms: int  # when the last bytes came
    from_ms: int | None = None  # the stretch not yet handed out
    to_ms: int | None = None
    absent: bool = False  # the newest look did not find it


# A publication that was not found for this long is a new one when it is found again, however slack the rules are:
# its counters began anew, and may by now be beyond where the old ones ended.
ABSENT_MS = 3000


class FlowBook:
    """The lines of one lesson by person. `slack_ms`: a longer hole ends a stretch."""

    def __init__(self, slack_ms: int) -> None:
        self._slack_ms = slack_ms
        self._lines: dict[str, _Line] = {}
        self._ended: list[tuple[str, int, int]] = []

    def sample(self, now_ms: int, samples: dict[str, Sample]) -> None:
        """One look at all publications of the lesson; those absent from it did not flow."""
        for person_id, seen in samples.items():
            line = self._lines.get(person_id)
            gone_ms = now_ms - line.sampled_at_ms if line is not None and line.absent else 0
            anew = gone_ms > max(self._slack_ms, ABSENT_MS)
            if line is None or anew or seen.payload_bytes < line.payload_bytes:
                # A first sample, or the counters began anew with a new session: nothing to compare with yet.
                if line is not None:
                    self._end(person_id, line)
                at_ms = now_ms - (seen.last_packet_age_ms or 0)
                line = _Line(seen.payload_bytes, now_ms, at_ms if seen.payload_bytes else 0)
                self._lines[person_id] = line
                continue
            if seen.payload_bytes > line.payload_bytes:
                self._flowed(person_id, line, min(now_ms, now_ms - (seen.last_packet_age_ms or 0)))
            line.payload_bytes, line.sampled_at_ms, line.absent = seen.payload_bytes, now_ms, False
        for person_id, line in self._lines.items():
            line.absent = person_id not in samples

    def _flowed(self, person_id: str, line: _Line, until_ms: int) -> None:
        until_ms = max(until_ms, line.flowed_at_ms)
        if line.to_ms is not None and until_ms - line.to_ms > self._slack_ms + (until_ms - line.sampled_at_ms):
            self._end(person_id, line)
        if line.from_ms is None:
            line.from_ms = min(line.sampled_at_ms, until_ms)
        line.to_ms = line.flowed_at_ms = until_ms

    def _end(self, person_id: str, line: _Line) -> None:
        if line.from_ms is not None and line.to_ms is not None and line.to_ms > line.from_ms:
            self._ended.append((person_id, line.from_ms, line.to_ms))
        line.from_ms = line.to_ms = None

    def flowing(self, now_ms: int) -> set[str]:
        """Whose picture came within the slack."""
        return {person for person, line in self._lines.items() if now_ms - line.flowed_at_ms <= self._slack_ms}

    def take(self, now_ms: int, at_least_ms: int) -> list[tuple[str, int, int]]:
        """Stretches to be recorded: those that ended, and those that run for `at_least_ms` or have gone silent."""
        for person_id, line in self._lines.items():
            if line.from_ms is None or line.to_ms is None or line.to_ms <= line.from_ms:
                continue
            silent = now_ms - line.to_ms > self._slack_ms
            if silent:
                self._end(person_id, line)
            elif line.to_ms - line.from_ms >= at_least_ms:
                self._ended.append((person_id, line.from_ms, line.to_ms))
                line.from_ms = line.to_ms  # the next stretch touches this one
        taken, self._ended = self._ended, []
        return taken

    def put_back(self, stretches: list[tuple[str, int, int]]) -> None:
        """Stretches that could not be recorded; the next `take` hands them out again."""
        self._ended = [*stretches, *self._ended]

    def untaken(self) -> list[tuple[str, int, int]]:
        """What `take` has not handed out: kept outside the process, so that a successor can record it."""
        running = [
            (person_id, line.from_ms, line.to_ms)
            for person_id, line in self._lines.items()
            if line.from_ms is not None and line.to_ms is not None and line.to_ms > line.from_ms
        ]
        return [*self._ended, *running]
