"""The network on onnxruntime against dlib's own: the same numbers from the same weights."""

from __future__ import annotations

import dlib
import numpy as np
import pytest
from deepface import DeepFace

from proctor.dlib_weights import read_resnet
from proctor.resnet import BLOCKS, onnx_resnet


@pytest.fixture(scope="module")
def file_bytes(engine):
    return engine.weights.resnet.read_bytes()


@pytest.fixture(scope="module")
def chips(engine, carphone, astronaut):
    pictures = [*carphone[:11:2], astronaut]
    aligned = [engine.aligner.chip(picture, engine.detector.faces(picture)[0]) for picture in pictures]
    noise = np.random.default_rng(1).integers(0, 256, (150, 150, 3)).astype(np.uint8)
    return [*aligned, noise, np.zeros((150, 150, 3), np.uint8), np.full((150, 150, 3), 255, np.uint8)]


def unit(vector):
    return np.asarray(vector) / np.linalg.norm(vector)


def test_every_number_is_dlibs(engine, chips):
    judge_of_old = dlib.face_recognition_model_v1(str(engine.weights.resnet))
    for chip in chips:
        expected = unit(judge_of_old.compute_face_descriptor(np.ascontiguousarray(chip[:, :, ::-1])))
        assert np.abs(engine.embedder.vector(chip) - expected).max() < 2e-6


def test_a_batch_answers_as_each_chip_does(engine, chips):
    both = DeepFace.represent(
        img_path=[chips[0], chips[6]],
        model_name="DlibOnnx",
        detector_backend="skip",
        enforce_detection=False,
        align=False,
    )
    for answer, chip in zip(both, (chips[0], chips[6]), strict=True):
        assert np.abs(unit(answer[0]["embedding"]) - engine.embedder.vector(chip)).max() < 1e-6


def test_the_file_is_the_network_of_dlibs_example(file_bytes):
    weights = read_resnet(file_bytes)
    assert [round(mean, 3) for mean in weights.means] == [122.782, 117.001, 104.298]
    assert len(weights.convolutions) == 1 + 2 * BLOCKS
    assert weights.convolutions[0].filters.shape == (32, 3, 7, 7)
    assert [c.filters.shape[0] for c in weights.convolutions[1:]] == [32] * 6 + [64] * 8 + [128] * 6 + [256] * 8
    assert [at for at, c in enumerate(weights.convolutions) if c.stride == 2] == [0, 7, 15, 21, 27]
    assert weights.projection.shape == (256, 128)


@pytest.mark.parametrize("length", [0, 100, 400, 20_000, 19_972_300, 22_400_000])
def test_a_shortened_file_is_refused(file_bytes, length):
    with pytest.raises(ValueError):
        onnx_resnet(read_resnet(file_bytes[:length]))
