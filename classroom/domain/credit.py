"""How many seconds are credited: a pure function of evidence and a rule profile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from classroom.domain.evidence import Evidence
from classroom.domain.profile import RuleProfile


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
    attended_ms: int
    state: str  # absent | away | unconfirmed | present
    last_positive_ms: int | None
    asked_of_you: str | None  # coded: look_at_camera, turn_on_camera, alone_please, reconnect, wait_for_proctor
    alarm: str | None = None  # the reason a proctor should look at


def credit(
    profile: RuleProfile, evidence: Iterable[Evidence], started_at_ms: int, ended_at_ms: int | None, now_ms: int
) -> CreditReport:
    """Credit of one learner in one lesson."""
    raise NotImplementedError
