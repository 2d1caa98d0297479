"""Enrolment from three shots: a template, or what each shot lacks (R-011)."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from proctor.engine import load_engine
from proctor.enrol import Problem, enrol
from proctor.judge import cosine_distance


@pytest.fixture(scope="module")
def shots(carphone, encode):
    return [encode(carphone[at], "jpeg") for at in (0, 4, 8)]


def test_three_good_shots_make_a_template_nearer_than_any_of_them(engine, shots, carphone):
    enrolment = enrol(engine, shots)
    assert enrolment.template is not None and enrolment.template.shots == 3
    assert [shot.to_dict()["ok"] for shot in enrolment.shots] == [True] * 3
    assert np.linalg.norm(enrolment.template.vector) == pytest.approx(1)
    probe = engine.embedder.vector(engine.aligner.chip(carphone[10], engine.detector.faces(carphone[10])[0]))
    singles = [cosine_distance(probe, np.asarray(shot.vector)) for shot in enrolment.shots]
    assert cosine_distance(probe, np.asarray(enrolment.template.vector)) < max(singles)


@pytest.mark.parametrize(
    ("lacking", "problem"),
    [
        ("nobody", Problem.NO_FACE),
        ("both", Problem.MANY_FACES),
        ("small", Problem.TOO_SMALL),
        ("far", Problem.TOO_SMALL),
        ("dark", Problem.TOO_DARK),
        ("covered", Problem.TOO_DARK),
        ("broken", Problem.UNREADABLE),
        ("other", Problem.NOT_SAME_PERSON),
    ],
)
def test_one_bad_shot_is_named_and_nothing_is_enrolled(
    engine, shots, carphone, astronaut, nobody, both, encode, lacking, problem
):
    far = np.full((480, 640, 3), 120, np.uint8)
    far[200:344, 200:376] = cv2.resize(carphone[0], (176, 144), interpolation=cv2.INTER_AREA)
    pictures = {
        "nobody": nobody,
        "both": both,
        "small": cv2.resize(carphone[0], (160, 120)),
        "far": far,
        "dark": cv2.convertScaleAbs(carphone[0], alpha=0.14),
        "covered": np.full((480, 640, 3), 4, np.uint8),
        "other": astronaut,
    }
    bad = b"\xff\xd8 not a jpeg" if lacking == "broken" else encode(pictures[lacking], "jpeg")
    enrolment = enrol(engine, [shots[0], bad, shots[2]])
    assert enrolment.template is None
    assert [shot.problem for shot in enrolment.shots] == [None, problem, None]


def test_three_different_people_enrol_nobody(engine, shots, astronaut, encode, press_photos):
    third = cv2.imread(str(press_photos / "p11_1.jpg"))
    enrolment = enrol(engine, [shots[0], encode(astronaut, "jpeg"), encode(third, "jpeg")])
    assert enrolment.template is None
    assert [shot.problem for shot in enrolment.shots] == [Problem.NOT_SAME_PERSON] * 3


def test_a_photographed_photo_three_times_is_not_enrolled(operator_models, press_photos, tmp_path):
    engine = load_engine(tmp_path, operator_models)
    shot = (press_photos / "spoof_sample_2.jpg").read_bytes()
    assert [shot.problem for shot in enrol(engine, [shot] * 3).shots] == [Problem.SPOOF_SUSPECTED] * 3
    alive = (press_photos / "live_sample_1.jpg").read_bytes()
    assert enrol(engine, [alive] * 3).template is not None


def test_two_shots_are_not_enough(engine, shots):
    with pytest.raises(ValueError, match="3 shots"):
        enrol(engine, shots[:2])
