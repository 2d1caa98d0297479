"""How the thresholds do on pictures of one's own people: `python -m proctor.calibrate FOLDER`.

The folder holds pictures and a `pairs.csv` with the columns fileA, fileB, same (1 or 0).
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from proctor.engine import Engine, warm_engine
from proctor.judge import cosine_distance
from proctor.thresholds import DEFAULT_THRESHOLDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZES = ((640, 480), (320, 240))


@dataclass(frozen=True)
class Calibration:
    """Cosine distances of the pairs whose both faces were found, at one probe size."""

    width: int
    height: int
    same: tuple[float, ...]
    different: tuple[float, ...]
    not_found: tuple[str, ...]

    def false_rejects(self, threshold: float) -> float:
        """The share of same-person pairs further apart than the threshold, 0..1."""
        return _share(distance > threshold for distance in self.same)

    def false_accepts(self, threshold: float) -> float:
        """The share of different-person pairs at or below the threshold, 0..1."""
        return _share(distance <= threshold for distance in self.different)


def calibrate(engine: Engine, folder: Path, size: tuple[int, int]) -> Calibration:
    """Compares every pair: the first picture as it is, the second resized to `size` (width, height)."""
    with (folder / "pairs.csv").open(newline="") as file:
        pairs = [(row["fileA"], row["fileB"], row["same"] == "1") for row in csv.DictReader(file)]
    enrolled = {name: _vector(engine, folder / name, None) for name in {a for a, _, _ in pairs}}
    probes = {name: _vector(engine, folder / name, size) for name in {b for _, b, _ in pairs}}
    same: list[float] = []
    different: list[float] = []
    for a, b, is_same in pairs:
        first, second = enrolled[a], probes[b]
        if first is not None and second is not None:
            (same if is_same else different).append(cosine_distance(first, second))
    not_found = {name for found in (enrolled, probes) for name, vector in found.items() if vector is None}
    return Calibration(*size, tuple(same), tuple(different), tuple(sorted(not_found)))


def _vector(engine: Engine, path: Path, size: tuple[int, int] | None) -> NDArray[np.float64] | None:
    image = cv2.imread(str(path))
    if image is None:
        raise ValueError(f"{path} is no picture")
    if size is not None:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    faces = engine.detector.faces(image)  # type: ignore[arg-type]
    return engine.embedder.vector(engine.aligner.chip(image, faces[0])) if faces else None  # type: ignore[arg-type]


def _share(hits: Iterable[bool]) -> float:
    found = list(hits)
    return sum(found) / len(found) if found else 0.0


def report(calibration: Calibration) -> str:
    """A table for people: false rejects (FRR) and false accepts (FAR) around the thresholds in use."""
    lines = [
        f"probe {calibration.width}x{calibration.height}: {len(calibration.same)} same, "
        f"{len(calibration.different)} different pairs; no face in {len(calibration.not_found)}",
        f"  same      p50 {_percentile(calibration.same, 50)}  p95 {_percentile(calibration.same, 95)}  "
        f"max {_percentile(calibration.same, 100)}",
        f"  different min {_percentile(calibration.different, 0)}  p5 {_percentile(calibration.different, 5)}  "
        f"p50 {_percentile(calibration.different, 50)}",
    ]
    for threshold in (0.05, 0.06, 0.07, 0.08, 0.09, 0.10, 0.12):
        mark = {
            DEFAULT_THRESHOLDS.match_up_to: " <- MATCH up to",
            DEFAULT_THRESHOLDS.mismatch_from: " <- MISMATCH from",
        }
        lines.append(
            f"  T={threshold:.2f}  FRR {calibration.false_rejects(threshold):7.2%}  "
            f"FAR {calibration.false_accepts(threshold):7.2%}{mark.get(threshold, '')}"
        )
    return "\n".join(lines)


def _percentile(distances: tuple[float, ...], percent: float) -> str:
    return f"{np.percentile(distances, percent):.3f}" if distances else "-"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m proctor.calibrate", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=Path, help="folder with the operator's YuNet and Fasnet files")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="anke-weights-") as home:
        engine = warm_engine(Path(home), options.models)
        for size in SIZES:
            print(report(calibrate(engine, options.folder, size)))


if __name__ == "__main__":
    main()
