"""Rule profiles: every number a regulation or the operator sets, as data. Nothing else in the house knows a 2700."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date
from typing import Any

#: Names of the fields that are durations in seconds; `scaled` divides exactly these.
DURATIONS = (
    "seconds_per_hour",
    "ping_interval_s",
    "ping_window_s",
    "face_interval_s",
    "relook_s",
    "relook_window_s",
    "max_gap_s",
    "max_face_age_s",
    "media_interval_s",
    "media_slack_s",
    "quiz_window_s",
    "reconnect_grace_s",
)


@dataclass(frozen=True)
class RuleProfile:
    """The rules one training class lives under: versioned, effective-dated, each number with its clause.

    Durations are seconds of the lesson's own clock; `clock_factor` says how many times faster than real rules a
    demonstration class runs (1 in real classes).
    """

    profile_id: str
    version: int
    title: str
    title_en: str
    province: str
    effective_from: date
    seconds_per_hour: float = 2700.0
    hour_unit: float = 1.0  # credited hours are floored to multiples of this
    daily_cap_hours: int = 6
    questions_per_hour: int = 5
    pass_score: int = 80
    offline_share_numerator: int = 1
    offline_share_denominator: int = 3
    ping_interval_s: float = 180.0
    ping_window_s: float = 90.0
    face_interval_s: float = 300.0
    relook_s: float = 45.0  # a check that was not a MATCH is repeated after this long
    relook_window_s: float = 120.0  # a doubt (no face, many faces) is lifted by a MATCH within this long
    unresolved_looks: int = 3  # so many checks in a row without a verdict on the face count against the learner
    max_gap_s: float = 420.0  # two positive evidences further apart than this prove nothing between them
    max_face_age_s: float = 900.0  # after this long without a MATCH, answers alone prove nothing
    media_interval_s: float = 30.0  # how often media flows are sampled
    media_slack_s: float = 20.0  # a longer hole in the learner's media is a stop
    quiz_window_s: float = 300.0
    reconnect_grace_s: float = 180.0  # after a fault of the server, what a learner needs to be back
    clock_factor: float = 1.0
    clauses: dict[str, str] = field(default_factory=dict)  # field name → where its number comes from

    def scaled(self, factor: float) -> RuleProfile:
        """The same rules on a clock that runs `factor` times faster: every duration divided by it."""
        if factor <= 0:
            raise ValueError("a clock factor is positive")
        durations: dict[str, Any] = {name: getattr(self, name) / factor for name in DURATIONS}
        return replace(self, clock_factor=self.clock_factor * factor, **durations)

    def ms(self, name: str) -> int:
        """The duration `name` (one of DURATIONS) in whole milliseconds."""
        if name not in DURATIONS:
            raise KeyError(name)
        return round(getattr(self, name) * 1000)

    def hours(self, credited_ms: int) -> float:
        """Credit hours 学时 of so many credited milliseconds, floored to `hour_unit`: 2699 s are none, 2700 s one."""
        unit_ms = self.ms("seconds_per_hour") * self.hour_unit
        return (credited_ms // unit_ms) * self.hour_unit

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `profile_of` reads them back."""
        values = asdict(self)
        values["effective_from"] = self.effective_from.isoformat()
        return values

    def to_json(self) -> str:
        """Canonical JSON: the text a lesson freezes."""
        return json.dumps(self.to_dict(), ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def profile_of(values: dict[str, Any]) -> RuleProfile:
    """A profile from its `to_dict`; unknown names are refused (ValueError), since a rule unread is a rule broken."""
    known = {f.name for f in fields(RuleProfile)}
    unknown = set(values) - known
    if unknown:
        raise ValueError(f"unknown rules: {sorted(unknown)}")
    return RuleProfile(**{**values, "effective_from": date.fromisoformat(values["effective_from"])})
