"""Weights are the known bytes or the engine does not start; nothing is ever fetched."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from proctor.engine import load_engine
from proctor.weights import FASNET, LANDMARKS, RESNET, YUNET, WeightsError, package_folder, prepare_weights


@pytest.fixture
def source(tmp_path):
    """A copy of the package's folder that a test may damage."""
    folder = tmp_path / "package"
    folder.mkdir()
    for file in (RESNET, LANDMARKS):
        (folder / file.name).write_bytes((package_folder() / file.name).read_bytes())
    return folder


def test_the_folder_holds_verified_files_where_deepface_looks(tmp_path):
    weights = prepare_weights(tmp_path / "home")
    assert weights.resnet == tmp_path / "home" / ".deepface" / "weights" / RESNET.name
    assert sorted(path.name for path in weights.resnet.parent.iterdir()) == sorted([RESNET.name, LANDMARKS.name])
    assert os.environ["DEEPFACE_HOME"] == str(tmp_path / "home")
    assert os.environ["DEEPFACE_BACKEND_ENGINE"] == "onnx"
    assert prepare_weights(tmp_path / "home") == weights


@pytest.mark.parametrize("wanted", [RESNET, LANDMARKS])
def test_one_flipped_byte_in_the_source_is_refused(tmp_path, source, wanted):
    path = source / wanted.name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=wanted.name) as caught:
        prepare_weights(tmp_path / "home", source=source)
    assert caught.value.code == "weights_differ"


def test_one_flipped_byte_in_the_prepared_folder_is_refused_at_the_next_start(tmp_path, source):
    weights = prepare_weights(tmp_path / "home", source=source)
    data = bytearray(weights.resnet.read_bytes())
    data[1000] ^= 0x80
    weights.resnet.unlink()  # it may be a hard link to the source
    weights.resnet.write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        load_engine(tmp_path / "home")
    assert caught.value.code == "weights_differ"


def test_a_missing_file_is_named(tmp_path, source):
    (source / LANDMARKS.name).unlink()
    with pytest.raises(WeightsError, match=LANDMARKS.name) as caught:
        prepare_weights(tmp_path / "home", source=source)
    assert caught.value.code == "weights_missing"


def test_operator_files_are_optional_but_must_be_the_known_ones(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    weights = prepare_weights(tmp_path / "home", models)
    assert weights.yunet is None and not weights.fasnet
    (models / YUNET.name).write_bytes(b"another network")
    with pytest.raises(WeightsError) as caught:
        prepare_weights(tmp_path / "home", models)
    assert caught.value.code == "weights_differ"


def test_half_of_the_fasnet_pair_is_refused(tmp_path, operator_models):
    models = tmp_path / "models"
    models.mkdir()
    for file in (YUNET, FASNET[0]):
        (models / file.name).write_bytes((operator_models / file.name).read_bytes())
    with pytest.raises(WeightsError, match=FASNET[1].name):
        prepare_weights(tmp_path / "home", models)


SEALED_OFF = """
import socket, sys
import proctor
heavy = {"deepface", "dlib", "cv2", "av", "onnxruntime", "numpy"} & set(sys.modules)
assert not heavy, heavy

def refuse(*arguments, **options):
    raise AssertionError(f"the network was asked for: {arguments}")

socket.socket.connect = refuse
socket.getaddrinfo = refuse
from pathlib import Path
from proctor.engine import load_engine
from proctor.judge import judge
engine = load_engine(Path(sys.argv[1]))
import cv2, importlib.util
data = Path(importlib.util.find_spec("skimage").origin).parent / "data" / "astronaut.png"
image = cv2.imread(str(data))
face = engine.detector.faces(image)[0]
own = proctor.Template(engine.embedder.model, tuple(engine.embedder.vector(engine.aligner.chip(image, face))))
print(judge(engine, image, own).outcome)
"""


def test_judging_needs_no_network_and_importing_the_house_no_model(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", SEALED_OFF, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().endswith("MATCH")
