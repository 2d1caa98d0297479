"""From a face chip to 128 numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from deepface import DeepFace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proctor.decode import Image

MODEL = "dlib-resnet-v1/chip150-0.25"
"""Network and alignment: templates with another name are never compared."""
DIMENSIONS = 128


class Embedder:
    """DeepFace's Dlib network on chips that are already aligned (`detector_backend="skip"`); 135 ms."""

    model = MODEL

    def __init__(self) -> None:
        DeepFace.build_model("Dlib", task="facial_recognition")

    def vector(self, chip: Image) -> NDArray[np.float64]:
        """128 numbers of unit length."""
        answers = DeepFace.represent(
            img_path=chip, model_name="Dlib", detector_backend="skip", enforce_detection=False, align=False
        )
        raw = np.asarray(answers[0]["embedding"], dtype=np.float64)
        if raw.shape != (DIMENSIONS,) or not np.isfinite(raw).all():
            raise ArithmeticError(f"the face network answered {raw.shape} numbers, or not finite ones")
        return raw / np.linalg.norm(raw)
