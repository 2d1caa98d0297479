"""From a face chip to 128 numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from deepface import DeepFace

from proctor import resnet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proctor.decode import Image

MODEL = "dlib-resnet-v1/chip150-0.25"
"""Network and alignment: templates with another name are never compared. Which runtime multiplies the weights is not
part of it: onnxruntime and dlib agree to within 2e-6 (`tests/proctor/test_resnet.py`)."""


class Embedder:
    """dlib's network through DeepFace, on chips that are already aligned (`detector_backend="skip"`).

    `tests/bench/faces.py` compares its CPU with dlib's own for the same numbers.
    """

    model = MODEL

    def __init__(self) -> None:
        resnet.register()
        DeepFace.build_model(resnet.NAME, task="facial_recognition")

    def vector(self, chip: Image) -> NDArray[np.float64]:
        """128 numbers of unit length."""
        answers = DeepFace.represent(
            img_path=chip, model_name=resnet.NAME, detector_backend="skip", enforce_detection=False, align=False
        )
        raw = np.asarray(answers[0]["embedding"], dtype=np.float64)
        if raw.shape != (resnet.DIMENSIONS,) or not np.isfinite(raw).all():
            raise ArithmeticError(f"the face network answered {raw.shape} numbers, or not finite ones")
        return raw / np.linalg.norm(raw)
