"""Is anyone alive there: a passive hint from one frame, never proof."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepface.commons.folder_utils import get_deepface_home
from deepface.modules import modeling

from proctor.onnx_graph import one_core_session
from proctor.verdict import Liveness
from proctor.weights import FASNET

if TYPE_CHECKING:
    from proctor.decode import Image
    from proctor.detect import FaceBox


@dataclass(frozen=True)
class LivenessOpinion:
    """`score` is the network's own confidence in its answer, 0..1; None when there is no network."""

    liveness: Liveness
    score: float | None


class Fasnet:
    """DeepFace's MiniFASNet pair on onnxruntime (Apache-2.0), where the operator installed its two files; 8 ms.

    Of 31 genuine photos it calls one or two spoofed.
    """

    def __init__(self) -> None:
        self._network = modeling.build_model(task="spoofing", model_name="Fasnet")
        folder = Path(get_deepface_home()) / ".deepface" / "weights"
        self._network.first_model, self._network.second_model = (
            one_core_session(str(folder / file.name)) for file in FASNET
        )

    def opinion(self, image: Image, face: FaceBox) -> LivenessOpinion:
        height, width = image.shape[:2]
        left, top = max(face.x, 0), max(face.y, 0)
        right, bottom = min(face.x + face.width, width), min(face.y + face.height, height)
        real, score = self._network.analyze(img=image, facial_area=(left, top, right - left, bottom - top))
        return LivenessOpinion(Liveness.REAL if real else Liveness.SPOOF, float(score))


class NoLiveness:
    """Stands where no network is installed: says so instead of guessing."""

    def opinion(self, image: Image, face: FaceBox) -> LivenessOpinion:
        return LivenessOpinion(Liveness.NOT_JUDGED, None)
