"""Three shots of one person in, one template out, or what was wrong with each shot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from proctor.decode import BadFrame, decode_key_frame_untrusted
from proctor.judge import cosine_distance, frame_too_small, people, too_dark
from proctor.templates import Template
from proctor.thresholds import DEFAULT_THRESHOLDS, Thresholds
from proctor.verdict import Liveness

if TYPE_CHECKING:
    from proctor.engine import Engine

SHOTS = 3
"""The mean of three shots takes false rejects from 26 % (one shot, 160x120) towards none."""
MIN_ENROL_FACE_PX = 80
"""Every later check is compared with these shots, so they must be better than a check need be."""


class Problem(StrEnum):
    """What the person can do better in the next shot; stable codes that the page words."""

    UNREADABLE = "unreadable"
    NO_FACE = "no_face"
    MANY_FACES = "many_faces"
    TOO_SMALL = "too_small"
    TOO_DARK = "too_dark"
    SPOOF_SUSPECTED = "spoof_suspected"
    NOT_SAME_PERSON = "not_same_person"


@dataclass(frozen=True)
class Shot:
    """`face_px` is the face's width; `brightness` the mean of its chip, 0..255."""

    problem: Problem | None
    face_px: int | None = None
    brightness: float | None = None
    vector: tuple[float, ...] | None = None
    spoofed: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {
            "ok": self.problem is None,
            "problem": None if self.problem is None else str(self.problem),
            "face_px": self.face_px,
            "brightness": self.brightness,
        }


@dataclass(frozen=True)
class Enrolment:
    """`template` is None unless every shot is good and there are `SHOTS` of them."""

    template: Template | None
    shots: tuple[Shot, ...]


def enrol(engine: Engine, jpegs: Sequence[bytes], thresholds: Thresholds = DEFAULT_THRESHOLDS) -> Enrolment:
    """Looks at each JPEG by itself, then at whether they show one person. Raises ValueError without `SHOTS` of them."""
    if len(jpegs) != SHOTS:
        raise ValueError(f"enrolment takes {SHOTS} shots, not {len(jpegs)}")
    shots = tuple(look(engine, jpeg, thresholds) for jpeg in jpegs)
    # A vote, as in `judge`: one shot that seems spoofed proves nothing.
    if all(shot.spoofed for shot in shots):
        return Enrolment(None, tuple(replace(shot, problem=Problem.SPOOF_SUSPECTED) for shot in shots))
    shots = _one_person(shots, thresholds)
    vectors = [shot.vector for shot in shots if shot.problem is None and shot.vector is not None]
    if len(vectors) != SHOTS:
        return Enrolment(None, shots)
    mean = np.mean(np.asarray(vectors), axis=0)
    mean /= np.linalg.norm(mean)
    return Enrolment(Template(engine.embedder.model, tuple(float(value) for value in mean), SHOTS), shots)


def look(engine: Engine, jpeg: bytes, thresholds: Thresholds) -> Shot:
    """One shot by itself."""
    try:
        image = decode_key_frame_untrusted("jpeg", jpeg)
    except BadFrame:
        return Shot(Problem.UNREADABLE)
    if frame_too_small(image, thresholds):
        return Shot(Problem.TOO_SMALL)
    faces = people(engine.detector.faces(image), thresholds)
    if not faces:
        return Shot(Problem.TOO_DARK if too_dark(image, thresholds) else Problem.NO_FACE)
    face = faces[0]
    if len(faces) > 1:
        return Shot(Problem.MANY_FACES, face.width)
    if face.width < MIN_ENROL_FACE_PX:
        return Shot(Problem.TOO_SMALL, face.width)
    chip = engine.aligner.chip(image, face)
    brightness = round(float(chip.mean()), 1)
    if brightness < thresholds.dark_mean:
        return Shot(Problem.TOO_DARK, face.width, brightness)
    opinion = engine.liveness.opinion(image, face)
    spoofed = opinion.liveness is Liveness.SPOOF and (opinion.score or 0.0) >= thresholds.spoof_score
    vector = tuple(float(value) for value in engine.embedder.vector(chip))
    return Shot(None, face.width, brightness, vector, spoofed)


def _one_person(shots: tuple[Shot, ...], thresholds: Thresholds) -> tuple[Shot, ...]:
    """Marks shots that resemble no other good shot: the odd one of two alike, or all when none are alike."""
    vectors = [None if shot.vector is None else np.asarray(shot.vector) for shot in shots]
    judged = []
    for index, (shot, vector) in enumerate(zip(shots, vectors, strict=True)):
        others = [other for at, other in enumerate(vectors) if at != index and other is not None]
        if vector is not None and others:
            nearest = min(cosine_distance(vector, other) for other in others)
            if nearest >= thresholds.mismatch_from:
                shot = replace(shot, problem=Problem.NOT_SAME_PERSON)
        judged.append(shot)
    return tuple(judged)
