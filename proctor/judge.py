"""Is the person in this frame the enrolled one? Read top to bottom.

decode → frame large enough? → detect → one person? → face large enough? → align → alive? → embed → compare
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from proctor.decode import BadFrame, decode_key_frame_untrusted
from proctor.thresholds import DEFAULT_THRESHOLDS, Thresholds
from proctor.verdict import Liveness, Outcome, Reason, Verdict

if TYPE_CHECKING:
    from proctor.decode import Image
    from proctor.detect import FaceBox
    from proctor.engine import Engine
    from proctor.frames import EncodedFrame
    from proctor.templates import Template


def judge_frame(
    engine: Engine,
    frame: EncodedFrame | None,
    template: Template,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    spoofs_before: int = 0,
) -> Verdict:
    """The verdict on one encoded key frame; None or unreadable bytes are NO_FRAME."""
    if frame is None:
        return Verdict(Outcome.NO_FRAME, reason=Reason.FRAME_EXPIRED)
    sha256 = hashlib.sha256(frame.data).hexdigest()
    try:
        image = decode_key_frame_untrusted(frame.codec, frame.data)
    except BadFrame:
        return Verdict(Outcome.NO_FRAME, reason=Reason.FRAME_UNREADABLE, frame_sha256=sha256)
    return replace(judge(engine, image, template, thresholds, spoofs_before), frame_sha256=sha256)


def judge(
    engine: Engine,
    image: Image,
    template: Template,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    spoofs_before: int = 0,
) -> Verdict:
    """The verdict on one BGR picture. Whatever is in the picture is a value; only a fault of ours raises.

    `spoofs_before` is how many looks in a row just before this one seemed spoofed: liveness is a vote.
    """
    began = time.perf_counter()
    height, width = image.shape[:2]
    verdict = Verdict(
        Outcome.NOT_JUDGED,
        match_up_to=thresholds.match_up_to,
        mismatch_from=thresholds.mismatch_from,
        model=engine.embedder.model,
        detector=engine.detector.name,
        width=width,
        height=height,
    )

    def ends(outcome: Outcome, reason: Reason | None = None) -> Verdict:
        took_ms = round((time.perf_counter() - began) * 1000, 1)
        return replace(verdict, outcome=outcome, reason=reason, took_ms=took_ms)

    if template.model != engine.embedder.model:
        return ends(Outcome.NOT_JUDGED, Reason.TEMPLATE_OF_OTHER_MODEL)
    if frame_too_small(image, thresholds):
        return ends(Outcome.UNSURE, Reason.FRAME_TOO_SMALL)

    faces = people(engine.detector.faces(image), thresholds)
    verdict = replace(verdict, faces=len(faces))
    if not faces:
        return ends(Outcome.NO_FACE, Reason.TOO_DARK if too_dark(image, thresholds) else None)
    face = faces[0]
    verdict = replace(verdict, face_px=face.width)
    if len(faces) > 1:
        return ends(Outcome.MANY_FACES)
    if face.width < thresholds.min_face_px:
        return ends(Outcome.UNSURE, Reason.FACE_TOO_SMALL)

    chip = engine.aligner.chip(image, face)
    opinion = engine.liveness.opinion(image, face)
    distance = cosine_distance(engine.embedder.vector(chip), np.asarray(template.vector))
    verdict = replace(
        verdict,
        distance=round(distance, 5),
        liveness=opinion.liveness,
        liveness_score=None if opinion.score is None else round(opinion.score, 4),
    )
    if seems_spoofed(verdict, thresholds) and spoofs_before + 1 >= thresholds.spoof_votes:
        return ends(Outcome.SPOOF_SUSPECTED)
    if distance <= thresholds.match_up_to:
        return ends(Outcome.MATCH)
    if distance >= thresholds.mismatch_from:
        return ends(Outcome.MISMATCH)
    return ends(Outcome.UNSURE, Reason.BETWEEN_THRESHOLDS)


def frame_too_small(image: Image, thresholds: Thresholds) -> bool:
    """Either way round: a phone held upright sends 240x320."""
    short, long = sorted(image.shape[:2])
    return long < thresholds.min_long_side_px or short < thresholds.min_short_side_px


def people(faces: list[FaceBox], thresholds: Thresholds) -> list[FaceBox]:
    """The faces that count as someone at the desk, widest first."""
    if not faces:
        return []
    return [face for face in faces if face.width >= thresholds.bystander_share * faces[0].width]


def too_dark(image: Image, thresholds: Thresholds) -> bool:
    return float(image.mean()) < thresholds.dark_mean


def seems_spoofed(verdict: Verdict, thresholds: Thresholds) -> bool:
    """One vote; `spoof_votes` of them in a row make the outcome."""
    score = verdict.liveness_score
    return verdict.liveness is Liveness.SPOOF and score is not None and score >= thresholds.spoof_score


def cosine_distance(a: np.ndarray, b: np.ndarray) -> float:
    """0 for the same direction, 1 for unrelated, 2 for opposite."""
    return 1.0 - float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))
