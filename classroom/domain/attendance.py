"""What each evidence is worth: confirms a learner, answers for one, or takes the confirmation away.

Only a face MATCH confirms. While confirmed, and with a MATCH not older than `max_face_age_s`, an answered ping or quiz
question is a positive evidence too. A negative evidence ends the confirmation until the next MATCH (R-063):

* MISMATCH and SPOOF_SUSPECTED at once (R-064);
* NO_FACE and MANY_FACES are a doubt: the next decisive verdict lifts it when it is a MATCH within `relook_window_s`;
* a missed ping, unless a fault of the server (and the time learners need to be back) overlaps its window (R-065);
* media that stops for longer than `media_slack_s`, outside such a fault.

UNSURE and NO_FRAME are neutral one by one, but `unresolved_looks` of them in a row are a negative: otherwise a client
that answers key-frame requests only when it suits would choose which checks succeed (R-058, R-064). NOT_JUDGED is the
platform's own failure and always neutral. A fault of the server excuses what is missing; it never stands in for a
positive evidence: time inside a fault is credited only like any other, between two positive evidences at most
`max_gap_s` apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from classroom.domain.evidence import ANSWERED, MISSED, Evidence, Kind, Outcome
from classroom.domain.intervals import Span, overlaps, union
from classroom.domain.profile import RuleProfile

FACE_MISMATCH = "face_mismatch"
NO_FACE = "no_face"
MANY_FACES = "many_faces"
UNSURE = "unsure"
PING_MISSED = "ping_missed"
MEDIA_STOPPED = "media_stopped"

#: Worst first: which reason is named when several hold.
SEVERITY = (FACE_MISMATCH, MANY_FACES, NO_FACE, UNSURE, PING_MISSED, MEDIA_STOPPED)

_AT_ONCE = {Outcome.MISMATCH: FACE_MISMATCH, Outcome.SPOOF_SUSPECTED: FACE_MISMATCH}
_DOUBTS = {Outcome.NO_FACE: NO_FACE, Outcome.MANY_FACES: MANY_FACES}
DECISIVE = frozenset({Outcome.MATCH, *_AT_ONCE, *_DOUBTS})
_UNRESOLVED = frozenset({Outcome.UNSURE, Outcome.NO_FRAME})


@dataclass(frozen=True)
class Marks:
    """All the moments that decide, each in time order."""

    matches: tuple[int, ...]
    answers: tuple[int, ...]
    negatives: tuple[tuple[int, str], ...]  # (at_ms, reason), one per moment
    faults: tuple[Span, ...]  # as recorded
    connected: tuple[Span, ...]  # an open connection reaches to the horizon
    connected_now: bool
    has_media: bool


def marks(profile: RuleProfile, evidence: Iterable[Evidence], horizon_ms: int) -> Marks:
    """Weighs the evidence known at `horizon_ms`. Order and repetition of the evidence do not matter."""
    facts = sorted(set(evidence))
    faults = union((e.from_ms, e.to_ms) for e in facts if e.kind is Kind.FAULT)
    grace_ms = profile.ms("reconnect_grace_s")
    excused = union((a, b + grace_ms) for a, b in faults)
    faces = [e for e in facts if e.kind is Kind.FACE]

    negative: dict[int, str] = {}

    def against(at_ms: int, reason: str) -> None:
        other = negative.get(at_ms)
        if other is None or SEVERITY.index(reason) < SEVERITY.index(other):
            negative[at_ms] = reason

    _weigh_faces(profile, faces, against)
    _weigh_unresolved(profile, faces, excused, against)
    for e in facts:
        if e.kind is Kind.PING and e.outcome == MISSED and not overlaps((e.from_ms, e.to_ms), excused):
            against(e.to_ms, PING_MISSED)

    matches = sorted({e.at_ms for e in faces if e.outcome == Outcome.MATCH})
    flows = [(e.from_ms, e.to_ms) for e in facts if e.kind is Kind.MEDIA]
    # A matched frame came out of the live stream: it stands for one sample of the flow.
    seen = [(at_ms, at_ms + profile.ms("media_interval_s")) for at_ms in matches]
    for at_ms in _media_stops(profile, union([*flows, *seen, *excused]), horizon_ms):
        against(at_ms, MEDIA_STOPPED)

    connected, connected_now = _connections(facts, horizon_ms)
    return Marks(
        matches=tuple(at for at in matches if at not in negative),
        answers=tuple(sorted({e.at_ms for e in facts if _is_answer(e)} - negative.keys())),
        negatives=tuple(sorted(negative.items())),
        faults=tuple(faults),
        connected=tuple(connected),
        connected_now=connected_now,
        has_media=bool(flows or matches),
    )


def _is_answer(e: Evidence) -> bool:
    return e.kind is Kind.QUIZ_ANSWER or (e.kind is Kind.PING and e.outcome == ANSWERED)


def _weigh_faces(profile: RuleProfile, faces: list[Evidence], against: Callable[[int, str], None]) -> None:
    decisive = [e for e in faces if e.outcome in DECISIVE]
    window_ms = profile.ms("relook_window_s")
    for position, e in enumerate(decisive):
        outcome = Outcome(e.outcome)
        if outcome in _AT_ONCE:
            against(e.at_ms, _AT_ONCE[outcome])
        elif outcome in _DOUBTS:
            later = [other for other in decisive[position:] if other.at_ms > e.at_ms]
            lifted = bool(later) and later[0].at_ms - e.at_ms <= window_ms
            # Of several verdicts of one moment every one must be a MATCH: the least certain reading counts.
            lifted = lifted and all(o.outcome == Outcome.MATCH for o in later if o.at_ms == later[0].at_ms)
            if not lifted:
                against(e.at_ms, _DOUBTS[outcome])


def _weigh_unresolved(
    profile: RuleProfile, faces: list[Evidence], excused: list[Span], against: Callable[[int, str], None]
) -> None:
    in_a_row = 0
    for e in faces:
        if e.outcome in DECISIVE:
            in_a_row = 0
        elif e.outcome in _UNRESOLVED and not overlaps((e.at_ms, e.at_ms + 1), excused):
            in_a_row += 1
            if in_a_row >= profile.unresolved_looks:
                against(e.at_ms, UNSURE)


def _media_stops(profile: RuleProfile, covered: list[Span], horizon_ms: int) -> list[int]:
    slack_ms = profile.ms("media_slack_s")
    stops = [a[1] for a, b in pairwise(covered) if b[0] - a[1] > slack_ms]
    # The newest sample may still be on its way: the tail is allowed one sampling interval more.
    if covered and horizon_ms - covered[-1][1] > slack_ms + profile.ms("media_interval_s"):
        stops.append(covered[-1][1])
    return stops


def _connections(facts: list[Evidence], horizon_ms: int) -> tuple[list[Span], bool]:
    """When the person was connected, and whether they are at the horizon."""
    spans: list[Span] = []
    seat, since_ms = "", None
    for e in facts:
        if e.kind is Kind.CONNECTED:
            if since_ms is None:
                since_ms = e.at_ms
            seat = e.ref
        elif e.kind is Kind.DISCONNECTED and since_ms is not None and e.ref in ("", seat):
            spans.append((since_ms, e.at_ms))
            since_ms = None
    if since_ms is not None:
        spans.append((since_ms, max(horizon_ms, since_ms)))
    return union(spans), since_ms is not None
