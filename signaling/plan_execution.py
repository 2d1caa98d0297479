"""What the lesson's plan asks for now: which ping, which look at which face. Pure: the plan, a watch and the time in.

The plan itself (`classroom.LessonPlan`) is drawn from the lesson's secret; here is only what happens when a moment
has come, was overslept, or a look at a face has to be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from classroom import FACE, PING, LessonPlan

if TYPE_CHECKING:
    from classroom import RuleProfile
    from signaling.face_checks import Asked

MATCH = "MATCH"
# A face that is not confirmed is looked at again after relook, then after 1.5 times as long, … up to this many times
# relook: quick enough for someone who sat down again, bounded for someone who never will.
RELOOK_GROWTH = 1.5
RELOOK_MAX_FACTOR = 4.0
# Index of the ping and the check that close a lesson: above every planned one, the same for a conductor that took over.
CLOSING_INDEX = 1_000_000


@dataclass
class Watch:
    """What the conductor remembers of one learner. Lost with the conductor, rebuilt from the record by the next."""

    person_id: str
    may_be_looked_at: bool = False  # consented, with an enrolled face
    here: bool = False  # connected, or gone for less than a gap that still counts
    publishing: bool = False
    next_ping: int = 0
    next_look: int = 0
    looked_before: set[int] = field(default_factory=set)  # planned looks already opened
    asked: Asked | None = None  # the check on its way
    look_now: bool = True  # the camera began, or a ping was missed: only a fresh look confirms
    failures: int = 0  # looks in a row that were not a MATCH
    looked_at_ms: int = 0  # when the last verdict came

    def verdict(self, outcome: str, now_ms: int) -> None:
        """A check of this learner came to something."""
        self.looked_at_ms = now_ms
        self.failures = 0 if outcome == MATCH else self.failures + 1
        self.look_now = False

    def camera(self, publishing: bool) -> None:
        """The camera began or stopped; what is seen after a pause has to be confirmed anew."""
        if publishing and not self.publishing:
            self.look_now = True
        self.publishing = publishing


def first_index(plan: LessonPlan, person_id: str, kind: str, now_ms: int) -> int:
    """The first planned moment that a conductor beginning now still serves."""
    interval_ms = plan.profile.ms("ping_interval_s" if kind == PING else "face_interval_s")
    index = max(0, (now_ms - plan.started_at_ms) // interval_ms - 1)
    while plan.moment(person_id, kind, index).at_ms <= now_ms - interval_ms // 2:
        index += 1
    return index


def due(plan: LessonPlan, person_id: str, kind: str, next_index: int, now_ms: int) -> tuple[int | None, int]:
    """The moment to serve now, and the next index to wait for. Of several overslept ones only the newest is served."""
    served: int | None = None
    moment = plan.moment(person_id, kind, next_index)
    while moment.at_ms <= now_ms and moment.at_ms < plan.planned_end_ms:
        served, next_index = next_index, next_index + 1
        moment = plan.moment(person_id, kind, next_index)
    return served, next_index


def ping_due(plan: LessonPlan, watch: Watch, now_ms: int) -> int | None:
    """The index of the ping to open for this learner now."""
    served, watch.next_ping = due(plan, watch.person_id, PING, watch.next_ping, now_ms)
    return served if watch.here else None


def look_due(plan: LessonPlan, watch: Watch, now_ms: int) -> tuple[bool, int | None]:
    """Whether to look at this learner's face now, and under which planned index (None: out of plan)."""
    planned, following = due(plan, watch.person_id, FACE, watch.next_look, now_ms)
    if not watch.may_be_looked_at or not watch.publishing or watch.asked is not None:
        return False, None
    urgent = watch.look_now and (watch.failures == 0 or now_ms - watch.looked_at_ms >= relook_ms(plan.profile, 1))
    repeat = watch.failures > 0 and now_ms - watch.looked_at_ms >= relook_ms(plan.profile, watch.failures)
    if not urgent and not repeat and planned is None:
        return False, None
    watch.next_look = following
    index = planned if planned is not None and planned not in watch.looked_before else None
    if index is not None:
        watch.looked_before.add(index)
    return True, index


def relook_ms(profile: RuleProfile, failures: int) -> int:
    """How long after the `failures`-th look that was no MATCH the next one comes."""
    return round(profile.ms("relook_s") * min(RELOOK_GROWTH ** (failures - 1), RELOOK_MAX_FACTOR))
