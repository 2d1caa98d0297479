"""How many seconds are credited: a pure function of evidence and a rule profile.

A second is credited when it lies between two consecutive positive evidences at most `max_gap_s` apart, with no negative
evidence between them, inside the lesson, and outside what an incident withholds. Nothing before the first MATCH and
nothing after the last positive evidence is ever credited. All times are UTC epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from classroom.domain.attendance import (
    FACE_MISMATCH,
    MANY_FACES,
    MEDIA_STOPPED,
    NO_FACE,
    PING_MISSED,
    SEVERITY,
    UNSURE,
    Marks,
    marks,
)
from classroom.domain.evidence import Evidence, Kind
from classroom.domain.intervals import clip, cut, length, overlaps, union
from classroom.domain.profile import RuleProfile

NOT_CONFIRMED = "not_confirmed"
NOT_CONNECTED = "not_connected"
GAP_TOO_LONG = "gap_too_long"
SERVER_FAULT = "server_fault"
WITHHELD = "withheld"
#: Time after the newest positive evidence: still open while the lesson is live, not credited when it has ended.
AFTER_LAST_EVIDENCE = "after_last_evidence"

ABSENT, AWAY, UNCONFIRMED, PRESENT = "absent", "away", "unconfirmed", "present"

_ASKS = {
    FACE_MISMATCH: "wait_for_proctor",
    MANY_FACES: "alone_please",
    NO_FACE: "look_at_camera",
    UNSURE: "look_at_camera",
    PING_MISSED: "look_at_camera",
    MEDIA_STOPPED: "turn_on_camera",
}


@dataclass(frozen=True)
class Stretch:
    """Part of a lesson. `reason` is None where credited, else the coded reason why not."""

    from_ms: int
    to_ms: int
    credited: bool
    reason: str | None = None


@dataclass(frozen=True)
class CreditReport:
    intervals: tuple[Stretch, ...]  # gapless from the lesson's start to its end (or now)
    credited_ms: int
    attended_ms: int  # connected inside the lesson, whether credited or not
    state: str  # absent | away | unconfirmed | present
    last_positive_ms: int | None
    asked_of_you: str | None  # look_at_camera, turn_on_camera, alone_please, reconnect, wait_for_proctor
    alarm: str | None = None  # the reason a proctor should look at; None when all is well

    def weights_ms(self) -> dict[str, int]:
        """How long each reason withheld credit, the longest first."""
        found: dict[str, int] = {}
        for part in self.intervals:
            if part.reason is not None:
                found[part.reason] = found.get(part.reason, 0) + part.to_ms - part.from_ms
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def credit(
    profile: RuleProfile, evidence: Iterable[Evidence], started_at_ms: int, ended_at_ms: int | None, now_ms: int
) -> CreditReport:
    """Credit of one learner in one lesson, as known at `now_ms`. Caps over lessons are in `classroom.domain.caps`."""
    facts = set(evidence)
    horizon_ms = max(started_at_ms, now_ms if ended_at_ms is None else ended_at_ms)
    weighed = marks(profile, facts, horizon_ms)
    walk = _walk(profile, weighed, started_at_ms, horizon_ms)
    withheld = _withheld(facts)
    parts: list[Stretch] = []
    for part in walk.parts:
        for start, end in clip([(part.from_ms, part.to_ms)], started_at_ms, horizon_ms):
            parts.extend(_explained(Stretch(start, end, part.credited, part.reason), weighed, withheld))
    attended = clip(weighed.connected, started_at_ms, horizon_ms)
    state, asks = _state(profile, weighed, walk, horizon_ms)
    return CreditReport(
        intervals=tuple(joined(parts)),
        credited_ms=sum(part.to_ms - part.from_ms for part in parts if part.credited),
        attended_ms=length(attended),
        state=state,
        last_positive_ms=walk.last_positive_ms,
        asked_of_you=asks,
        alarm=walk.cause if walk.cause in SEVERITY else None,
    )


@dataclass
class _Walk:
    parts: list[Stretch]
    confirmed: bool
    cause: str  # why unconfirmed; NOT_CONFIRMED before the first MATCH
    last_positive_ms: int | None


def _walk(profile: RuleProfile, weighed: Marks, started_at_ms: int, horizon_ms: int) -> _Walk:
    """Goes through the deciding moments in order and cuts time at each."""
    max_gap_ms, max_age_ms = profile.ms("max_gap_s"), profile.ms("max_face_age_s")
    events = [(at, 0, "") for at in weighed.matches] + [(at, 1, "") for at in weighed.answers]
    events += [(at, 2, reason) for at, reason in weighed.negatives]
    earliest_ms = min([started_at_ms, *(at for at, _, _ in events)])
    walk = _Walk([], False, NOT_CONFIRMED, None)
    cursor_ms, match_ms = earliest_ms, earliest_ms
    for at_ms, rank, reason in sorted(events):
        if rank == 2:
            if walk.confirmed or walk.cause == NOT_CONFIRMED:
                # What followed the last positive evidence is lost for this very reason.
                worst = reason if walk.confirmed else walk.cause
                walk.parts.append(Stretch(cursor_ms, at_ms, False, worst))
                walk.cause, cursor_ms = reason, at_ms
            elif SEVERITY.index(reason) < SEVERITY.index(walk.cause):
                walk.parts.append(Stretch(cursor_ms, at_ms, False, walk.cause))
                walk.cause, cursor_ms = reason, at_ms
            walk.confirmed = False
            continue
        if rank == 1 and not (walk.confirmed and at_ms - match_ms <= max_age_ms):
            continue
        if not walk.confirmed:
            walk.parts.append(Stretch(cursor_ms, at_ms, False, walk.cause))
        elif at_ms - cursor_ms <= max_gap_ms:
            walk.parts.append(Stretch(cursor_ms, at_ms, True))
        else:
            walk.parts.append(Stretch(cursor_ms, at_ms, False, GAP_TOO_LONG))
        if rank == 0:
            walk.confirmed, walk.cause, match_ms = True, "", at_ms
        cursor_ms = walk.last_positive_ms = at_ms
    if cursor_ms < horizon_ms:
        tail = AFTER_LAST_EVIDENCE if horizon_ms - cursor_ms <= max_gap_ms else GAP_TOO_LONG
        walk.parts.append(Stretch(cursor_ms, horizon_ms, False, tail if walk.confirmed else walk.cause))
    return walk


def _withheld(facts: Iterable[Evidence]) -> list[tuple[int, int]]:
    released = {e.ref for e in facts if e.kind is Kind.RELEASED}
    return union((e.from_ms, e.to_ms) for e in facts if e.kind is Kind.WITHHELD and e.ref not in released)


def _explained(part: Stretch, weighed: Marks, withheld: list[tuple[int, int]]) -> list[Stretch]:
    """One cut of time with the reason a person can act on."""
    span = (part.from_ms, part.to_ms)
    if part.credited:
        return [Stretch(a, b, not held, WITHHELD if held else None) for a, b, held in cut(span, withheld)]
    if part.reason == GAP_TOO_LONG and overlaps(span, weighed.faults):
        return [Stretch(*span, False, SERVER_FAULT)]
    if part.reason in (NOT_CONFIRMED, GAP_TOO_LONG):
        return [
            Stretch(a, b, False, part.reason if here else NOT_CONNECTED)
            for a, b, here in cut(span, list(weighed.connected))
        ]
    return [part]


def joined(parts: Iterable[Stretch]) -> list[Stretch]:
    """Neighbours with the same verdict become one."""
    merged: list[Stretch] = []
    for part in parts:
        if part.to_ms <= part.from_ms:
            continue
        before = merged[-1] if merged else None
        if (
            before is not None
            and before.to_ms == part.from_ms
            and (before.credited, before.reason) == (part.credited, part.reason)
        ):
            merged[-1] = Stretch(before.from_ms, part.to_ms, part.credited, part.reason)
        else:
            merged.append(part)
    return merged


def _state(profile: RuleProfile, weighed: Marks, walk: _Walk, horizon_ms: int) -> tuple[str, str | None]:
    if not weighed.connected_now:
        return ABSENT, "reconnect"
    if walk.confirmed and walk.last_positive_ms is not None:
        if horizon_ms - walk.last_positive_ms <= profile.ms("max_gap_s"):
            return PRESENT, None
        return UNCONFIRMED, "look_at_camera"
    if walk.cause in _ASKS:
        return AWAY, _ASKS[walk.cause]
    return UNCONFIRMED, "look_at_camera" if weighed.has_media else "turn_on_camera"
