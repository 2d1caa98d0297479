"""What a face check can answer: outcomes are values here, never exceptions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """What one look at one frame came to. Only `classroom.domain` says what each is worth."""

    MATCH = "MATCH"
    MISMATCH = "MISMATCH"
    NO_FACE = "NO_FACE"
    MANY_FACES = "MANY_FACES"
    UNSURE = "UNSURE"  # looked, but the picture does not carry a decision: look again
    SPOOF_SUSPECTED = "SPOOF_SUSPECTED"
    NOT_JUDGED = "NOT_JUDGED"  # our own failure; never the learner's
    NO_FRAME = "NO_FRAME"  # there was nothing to look at: no bytes, or bytes that are no picture


class Liveness(StrEnum):
    """What the passive anti-spoof network said. A hint for people, never proof."""

    REAL = "real"
    SPOOF = "spoof"
    NOT_JUDGED = "not_judged"  # the operator has not installed the network


class Reason(StrEnum):
    """Why an outcome is not a plain yes or no; stable codes that the page words in two languages."""

    FRAME_TOO_SMALL = "frame_too_small"
    FACE_TOO_SMALL = "face_too_small"
    BETWEEN_THRESHOLDS = "between_thresholds"
    TOO_DARK = "too_dark"
    FRAME_EXPIRED = "frame_expired"
    FRAME_UNREADABLE = "frame_unreadable"
    NO_TEMPLATE = "no_template"
    TEMPLATE_UNREADABLE = "template_unreadable"
    TEMPLATE_OF_OTHER_MODEL = "template_of_other_model"
    ENGINE_FAILED = "engine_failed"
    WORKER_DIED = "worker_died"


@dataclass(frozen=True)
class Verdict:
    """The answer of one face check, with everything an auditor needs to understand it (R-057).

    `distance` is the cosine distance to the template (0 = same direction); `match_up_to` and `mismatch_from` are the
    thresholds it was compared with. `width` and `height` are the frame's pixels, `faces` the people counted in it.
    """

    outcome: Outcome
    reason: Reason | None = None
    distance: float | None = None
    match_up_to: float | None = None
    mismatch_from: float | None = None
    model: str | None = None
    detector: str | None = None
    faces: int | None = None
    face_px: int | None = None
    width: int | None = None
    height: int | None = None
    liveness: Liveness = Liveness.NOT_JUDGED
    liveness_score: float | None = None
    frame_sha256: str | None = None
    took_ms: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as they travel in a job's result."""
        return {name: str(value) if isinstance(value, StrEnum) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Verdict:
        """The inverse of `to_dict`. Raises KeyError, ValueError or TypeError on anything else."""
        reason = values.get("reason")
        return cls(
            **{
                **values,
                "outcome": Outcome(values["outcome"]),
                "reason": Reason(reason) if reason is not None else None,
                "liveness": Liveness(values.get("liveness", Liveness.NOT_JUDGED)),
            }
        )
