"""Where the faces are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import dlib

if TYPE_CHECKING:
    from proctor.decode import Image


@dataclass(frozen=True)
class FaceBox:
    """Pixels from the top left corner; may reach over the picture's edge."""

    x: int
    y: int
    width: int
    height: int
    score: float


class Detector(Protocol):
    name: str

    def faces(self, image: Image) -> list[FaceBox]:
        """Widest first."""
        ...


class HogDetector:
    """dlib's HOG detector, compiled into dlib itself: 16 ms at 320x240, 58 ms at 640x480.

    It finds faces from 80 px up. Where it finds none it looks once more at double size (47 / 234 ms), which brings
    that to 40 px: a learner who leans back is not an empty chair.
    """

    name = "dlib-hog"

    def __init__(self) -> None:
        self._detector = dlib.get_frontal_face_detector()

    def faces(self, image: Image) -> list[FaceBox]:
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        for upsample in (0, 1):
            boxes, scores, _ = self._detector.run(gray, upsample, 0.0)
            if boxes:
                found = [
                    FaceBox(box.left(), box.top(), box.width(), box.height(), float(score))
                    for box, score in zip(boxes, scores, strict=True)
                ]
                return sorted(found, key=lambda face: -face.width)
        return []


class YuNetDetector:
    """OpenCV's YuNet (MIT), where the operator installed its file: 9 ms at 320x240, 36 ms at 640x480."""

    name = "yunet-2023mar"
    SCORE = 0.8

    def __init__(self, path: Path) -> None:
        self._detector = cv2.FaceDetectorYN.create(str(path), "", (320, 240), self.SCORE)

    def faces(self, image: Image) -> list[FaceBox]:
        height, width = image.shape[:2]
        self._detector.setInputSize((width, height))
        _, rows = self._detector.detect(image)
        found = []
        # A row is the box, five landmarks of another kind than dlib's, and the score.
        for row in [] if rows is None else rows:
            x, y, box_width, box_height = (round(float(value)) for value in row[:4])
            found.append(FaceBox(x, y, box_width, box_height, float(row[14])))
        return sorted(found, key=lambda face: -face.width)
