"""CPU of the face network on onnxruntime against dlib's own, same weights, same chips, in one run.

Run: `.venv/bin/python tests/bench/faces.py`. Prints medians in milliseconds of process CPU time and the largest
difference between the two unit vectors.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

ROUNDS = 25


def median_cpu_ms(work: Callable[[Any], Any], chips: list[Any]) -> float:
    taken: list[float] = []
    for turn in range(ROUNDS):
        began = time.process_time()
        work(chips[turn % len(chips)])
        taken.append((time.process_time() - began) * 1000)
    return statistics.median(taken)


def main() -> None:
    from proctor.engine import load_engine

    with tempfile.TemporaryDirectory(prefix="anke-weights-") as home:
        engine = load_engine(Path(home))
        import dlib
        import numpy as np

        from web.demo.footage import camera_for

        pictures = [camera_for("honest", index).frame_at(t_s) for index in range(4) for t_s in (0.0, 1.0)]
        chips = [engine.aligner.chip(picture, engine.detector.faces(picture)[0]) for picture in pictures]
        network = dlib.face_recognition_model_v1(str(engine.weights.resnet))

        def by_dlib(chip: Any) -> Any:
            vector = np.asarray(network.compute_face_descriptor(np.ascontiguousarray(chip[:, :, ::-1])))
            return vector / np.linalg.norm(vector)

        apart = max(float(np.abs(by_dlib(chip) - engine.embedder.vector(chip)).max()) for chip in chips)
        print(f"dlib          {median_cpu_ms(by_dlib, chips):6.1f} ms")
        print(f"onnxruntime   {median_cpu_ms(engine.embedder.vector, chips):6.1f} ms   (through DeepFace)")
        print(f"largest difference {apart:.1e}")


if __name__ == "__main__":
    main()
