"""The proctor house: pixels, faces, verdicts and opaque ids. It knows no names, lessons or credit.

Importing it loads no model and no codec; `judge`, `enrol`, `engine`, `decode` and `calibrate` do that when imported.
"""

from proctor.frames import FRAME_TTL_S, EncodedFrame, drop, put, take
from proctor.tasks import ENROL_FACE, FORGET_FACE, JUDGE_FACE, WARM, ProctorContext, register
from proctor.templates import Template, TemplateBox, TemplateError
from proctor.thresholds import DEFAULT_THRESHOLDS, Thresholds
from proctor.verdict import Liveness, Outcome, Reason, Verdict

__all__ = [
    "DEFAULT_THRESHOLDS",
    "ENROL_FACE",
    "FORGET_FACE",
    "FRAME_TTL_S",
    "JUDGE_FACE",
    "WARM",
    "EncodedFrame",
    "Liveness",
    "Outcome",
    "ProctorContext",
    "Reason",
    "Template",
    "TemplateBox",
    "TemplateError",
    "Thresholds",
    "Verdict",
    "drop",
    "put",
    "register",
    "take",
]
