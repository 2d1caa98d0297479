"""Where pings and face checks fall: unpredictable to learners, reproducible in an audit.

The k-th moment of a kind for a person is  start + k*I + u*I/2,  with u = HMAC-SHA256(secret, person|kind|k) in [0, 1).
The secret is drawn per lesson; its SHA-256 goes into the ledger at the start, the secret itself at the end.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from classroom.domain.profile import RuleProfile

PING = "ping"
FACE = "face"
_U_BITS = 53  # as many as a float holds exactly


@dataclass(frozen=True)
class PlannedMoment:
    index: int
    at_ms: int


def fraction(secret: bytes, person_id: str, kind: str, index: int) -> float:
    """u in [0, 1) of one planned moment."""
    digest = hmac.new(secret, f"{person_id}|{kind}|{index}".encode(), hashlib.sha256).digest()
    return (int.from_bytes(digest[:8], "big") >> (64 - _U_BITS)) / (1 << _U_BITS)


@dataclass(frozen=True)
class LessonPlan:
    """The plan of one live lesson. Holds the secret: for the conductor and for audits only."""

    lesson_id: str
    secret: bytes
    started_at_ms: int
    planned_ms: int
    profile: RuleProfile

    @property
    def planned_end_ms(self) -> int:
        return self.started_at_ms + self.planned_ms

    def moment(self, person_id: str, kind: str, index: int) -> PlannedMoment:
        """The `index`-th ping (kind PING) or face check (kind FACE) of a person."""
        interval_s = self.profile.ping_interval_s if kind == PING else self.profile.face_interval_s
        offset_s = (index + fraction(self.secret, person_id, kind, index) / 2) * interval_s
        return PlannedMoment(index, self.started_at_ms + round(offset_s * 1000))

    def moments(self, person_id: str, kind: str) -> list[PlannedMoment]:
        """All moments of a kind before the planned end, in order. Index 0 of FACE is the entry check's place."""
        found: list[PlannedMoment] = []
        while True:
            planned = self.moment(person_id, kind, len(found))
            if planned.at_ms >= self.planned_end_ms:
                return found
            found.append(planned)

    def quizzes(self) -> list[PlannedMoment]:
        """One per credit hour, at its end (R-081); the last at the planned end."""
        hour_ms = self.profile.ms("seconds_per_hour")
        count = max(1, round(self.planned_ms / hour_ms))
        return [
            PlannedMoment(k, min(self.started_at_ms + (k + 1) * hour_ms, self.planned_end_ms)) for k in range(count)
        ]
