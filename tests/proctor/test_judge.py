"""Verdicts of the real model on real pictures, through real encoders (R-057)."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from proctor.engine import load_engine
from proctor.frames import EncodedFrame
from proctor.judge import judge, judge_frame
from proctor.templates import Template
from proctor.verdict import Liveness, Outcome, Reason, Verdict


@pytest.mark.parametrize("codec", ["vp8", "h264", "vp9"])
def test_an_honest_key_frame_of_each_codec_matches(engine, carphone, carphone_template, encode, codec):
    for at in (2, 6, 11):
        verdict = judge_frame(engine, EncodedFrame(codec, encode(carphone[at], codec)), carphone_template)
        assert verdict.outcome is Outcome.MATCH, verdict
        assert verdict.distance is not None and verdict.distance < 0.06
        assert (verdict.faces, verdict.width, verdict.height) == (1, 352, 288)
        assert verdict.model == "dlib-resnet-v1/chip150-0.25"


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_another_person_in_front_of_the_camera_is_a_mismatch(engine, carphone, astronaut_template, encode, codec):
    verdict = judge_frame(engine, EncodedFrame(codec, encode(carphone[3], codec)), astronaut_template)
    assert verdict.outcome is Outcome.MISMATCH
    assert verdict.distance is not None and verdict.distance > 0.12


def test_the_astronaut_matches_herself_at_320x240(engine, astronaut, astronaut_template, encode):
    small = cv2.resize(astronaut, (320, 240), interpolation=cv2.INTER_AREA)
    verdict = judge_frame(engine, EncodedFrame("vp8", encode(small)), astronaut_template)
    assert verdict.outcome is Outcome.MATCH, verdict


def test_an_empty_room_is_no_face(engine, nobody, carphone_template, encode):
    verdict = judge_frame(engine, EncodedFrame("vp8", encode(nobody)), carphone_template)
    assert (verdict.outcome, verdict.reason, verdict.faces) == (Outcome.NO_FACE, None, 0)
    assert verdict.distance is None


def test_a_covered_camera_is_no_face_because_too_dark(engine, carphone_template):
    verdict = judge(engine, np.full((480, 640, 3), 6, np.uint8), carphone_template)
    assert (verdict.outcome, verdict.reason) == (Outcome.NO_FACE, Reason.TOO_DARK)


def test_two_people_are_many_faces_even_when_one_is_the_learner(engine, both, carphone_template, encode):
    verdict = judge_frame(engine, EncodedFrame("vp8", encode(both, bit_rate=400_000)), carphone_template)
    assert (verdict.outcome, verdict.faces) == (Outcome.MANY_FACES, 2)


def test_a_small_frame_is_not_judged_but_asked_again(engine, carphone, carphone_template, encode):
    small = cv2.resize(carphone[0], (160, 120), interpolation=cv2.INTER_AREA)
    verdict = judge_frame(engine, EncodedFrame("vp8", encode(small)), carphone_template)
    assert (verdict.outcome, verdict.reason) == (Outcome.UNSURE, Reason.FRAME_TOO_SMALL)


def test_an_upright_phone_picture_counts_as_large_enough(engine, carphone, carphone_template):
    upright = np.ascontiguousarray(carphone[0][:, 56:296])
    upright = cv2.copyMakeBorder(upright, 0, 32, 0, 0, cv2.BORDER_REPLICATE)
    verdict = judge(engine, upright, carphone_template)
    assert verdict.outcome is Outcome.MATCH, verdict


def test_a_face_far_away_is_unsure(engine, carphone, carphone_template):
    far = np.full((480, 640, 3), 120, np.uint8)
    far[200:344, 200:376] = cv2.resize(carphone[0], (176, 144), interpolation=cv2.INTER_AREA)
    verdict = judge(engine, far, carphone_template)
    assert (verdict.outcome, verdict.reason) == (Outcome.UNSURE, Reason.FACE_TOO_SMALL), verdict


def test_between_the_thresholds_nobody_decides(engine, carphone, carphone_template):
    seen = judge(engine, carphone[5], carphone_template)
    assert seen.distance is not None
    # A template that lies at 0.08 from what the camera shows: turned away from it in a plane of the face space.
    vector = engine.embedder.vector(engine.aligner.chip(carphone[5], engine.detector.faces(carphone[5])[0]))
    aside = np.zeros_like(vector)
    aside[0] = 1.0
    aside -= vector * (aside @ vector)
    aside /= np.linalg.norm(aside)
    cosine = 1 - 0.08
    template = Template(engine.embedder.model, tuple(cosine * vector + np.sqrt(1 - cosine**2) * aside))
    verdict = judge(engine, carphone[5], template)
    assert (verdict.outcome, verdict.reason) == (Outcome.UNSURE, Reason.BETWEEN_THRESHOLDS)
    assert verdict.distance == pytest.approx(0.08, abs=1e-3)


@pytest.mark.parametrize("data", [b"", b"\x00", b"not a picture at all", bytes(5000)])
@pytest.mark.parametrize("codec", ["vp8", "h264", "vp9", "av1", "jpeg", "mystery"])
def test_bytes_that_are_no_picture_are_no_frame(engine, carphone_template, codec, data):
    verdict = judge_frame(engine, EncodedFrame(codec, data), carphone_template)
    assert (verdict.outcome, verdict.reason) == (Outcome.NO_FRAME, Reason.FRAME_UNREADABLE)
    assert verdict.frame_sha256 is not None


def test_an_expired_frame_is_no_frame(engine, carphone_template):
    assert judge_frame(engine, None, carphone_template) == Verdict(Outcome.NO_FRAME, reason=Reason.FRAME_EXPIRED)


def test_templates_of_another_model_are_never_compared(engine, carphone, carphone_template):
    verdict = judge(engine, carphone[0], Template("sface/other", carphone_template.vector))
    assert (verdict.outcome, verdict.reason) == (Outcome.NOT_JUDGED, Reason.TEMPLATE_OF_OTHER_MODEL)
    assert verdict.distance is None


def test_a_verdict_survives_json(engine, carphone, carphone_template):
    verdict = judge(engine, carphone[0], carphone_template)
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
    assert verdict.liveness is Liveness.NOT_JUDGED


def test_the_operators_networks_are_used_where_installed(
    operator_models, tmp_path, carphone, carphone_template, both, nobody
):
    engine = load_engine(tmp_path, operator_models)
    assert engine.snapshot()["detector"] == "yunet-2023mar"
    verdict = judge(engine, carphone[4], carphone_template)
    # Enrolled through HOG, found by YuNet: one alignment, so one template serves both.
    assert verdict.distance is not None and verdict.distance < 0.07
    assert verdict.liveness is not Liveness.NOT_JUDGED
    assert verdict.liveness_score is not None and 0 <= verdict.liveness_score <= 1
    assert judge(engine, both, carphone_template).outcome is Outcome.MANY_FACES
    assert judge(engine, nobody, carphone_template).outcome is Outcome.NO_FACE


def test_three_spoofed_looks_in_a_row_are_suspected_and_a_live_face_is_not(operator_models, press_photos, tmp_path):
    engine = load_engine(tmp_path, operator_models)

    def looks(name: str) -> list[Outcome]:
        image = cv2.imread(str(press_photos / name))
        assert image is not None
        face = engine.detector.faces(image)[0]
        own = Template(engine.embedder.model, tuple(engine.embedder.vector(engine.aligner.chip(image, face))))
        return [judge(engine, image, own, spoofs_before=before).outcome for before in range(3)]

    assert looks("live_sample_1.jpg") == [Outcome.MATCH] * 3
    assert looks("spoof_sample_1.jpg") == [Outcome.MATCH, Outcome.MATCH, Outcome.SPOOF_SUSPECTED]
    assert looks("spoof_sample_2.jpg") == [Outcome.MATCH, Outcome.MATCH, Outcome.SPOOF_SUSPECTED]
