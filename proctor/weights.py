"""The model files: where they come from, what their bytes must be, and how the engine is made to find them.

DeepFace looks weights up by file name under `$DEEPFACE_HOME/.deepface/weights/` and downloads what is missing. A
network at run time is out of the question (and a broken download once gave people an untrained model), so a folder is
prepared from installed packages, every file is checked by SHA-256, and the engine does not start otherwise.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path


class WeightsError(Exception):
    """A model file is missing or is not the one that was measured. `code`: weights_missing or weights_differ."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class WeightsFile:
    name: str
    sha256: str


RESNET = WeightsFile(
    "dlib_face_recognition_resnet_model_v1.dat", "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
)
LANDMARKS = WeightsFile(
    "shape_predictor_5_face_landmarks.dat", "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"
)
PACKAGE = "face_recognition_models"
"""Public-domain files; the package also carries a 68-point predictor whose training data forbids commercial use, which
is why only the named files are ever touched."""

YUNET = WeightsFile(
    "face_detection_yunet_2023mar.onnx", "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
)
FASNET = (
    WeightsFile("2.7_80x80_MiniFASNetV2.onnx", "d6364bc845dc93af3c20f0b14d6529474d8dbadd7c32fe0a27768224c0401816"),
    WeightsFile("4_0_0_80x80_MiniFASNetV1SE.onnx", "135751ebfa48188ec85744c9e201bd3322d5f4711f675b7b69885a14f17ffb2f"),
)


@dataclass(frozen=True)
class Weights:
    """Verified files, ready for the engine. `home` is what DEEPFACE_HOME must be."""

    home: Path
    resnet: Path
    landmarks: Path
    yunet: Path | None
    fasnet: bool


def package_folder() -> Path:
    """Where the installed package keeps its model files. Raises WeightsError when it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise WeightsError("weights_missing", f"the package {PACKAGE} is not installed, so there is no face model")
    return Path(spec.origin).parent / "models"


def check_file(path: Path, wanted: WeightsFile) -> None:
    """Reads the whole file. Raises WeightsError when it is absent or its SHA-256 is not the wanted one."""
    if not path.is_file():
        raise WeightsError("weights_missing", f"model file {path} is missing")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted.sha256:
        raise WeightsError("weights_differ", f"model file {path} has SHA-256 {found}, wanted {wanted.sha256}")


def prepare_weights(home: Path, operator_models: Path | None = None, source: Path | None = None) -> Weights:
    """Puts verified model files under `home` and sets the environment that DeepFace reads when it is imported.

    `operator_models` may hold YuNet and Fasnet: each is optional, but one that is present must be the known file.
    Fasnet is used beside YuNet only. `source` stands for the package's folder. Raises WeightsError; asks no network.
    """
    source = package_folder() if source is None else source
    folder = home / ".deepface" / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    resnet = _place(source / RESNET.name, folder, RESNET)
    landmarks = _place(source / LANDMARKS.name, folder, LANDMARKS)
    yunet = None
    fasnet = False
    if operator_models is not None:
        if (operator_models / YUNET.name).exists():
            yunet = _place(operator_models / YUNET.name, folder, YUNET)
        present = [(operator_models / file.name).exists() for file in FASNET]
        # Fasnet knows boxes like YuNet's; with HOG's smaller ones it calls 11 instead of 6 of 23 real people spoofed.
        if any(present) and yunet is not None:
            # One network of the pair alone would judge with half an opinion; check_file names the absent one.
            for file in FASNET:
                _place(operator_models / file.name, folder, file)
            fasnet = True
    os.environ["DEEPFACE_HOME"] = str(home)
    os.environ["DEEPFACE_BACKEND_ENGINE"] = "onnx"
    return Weights(home=home, resnet=resnet, landmarks=landmarks, yunet=yunet, fasnet=fasnet)


def _place(source: Path, folder: Path, wanted: WeightsFile) -> Path:
    """A file that is already in the folder is checked, not replaced: a change there is a fault to be looked at."""
    target = folder / wanted.name
    if target.exists():
        check_file(target, wanted)
        return target
    check_file(source, wanted)
    arriving = folder / f".{wanted.name}.{os.getpid()}"
    arriving.unlink(missing_ok=True)
    try:
        os.link(source, arriving)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, arriving)
    os.replace(arriving, target)
    # os.replace does nothing when both names are already links to one file (rename(2)); the arriving name would stay.
    arriving.unlink(missing_ok=True)
    check_file(target, wanted)
    return target
