"""The warm models of one process: loaded once (about 1.5 s), used for every check."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from proctor.weights import Weights, prepare_weights

if TYPE_CHECKING:
    from proctor.align import Aligner
    from proctor.detect import Detector
    from proctor.embed import Embedder
    from proctor.liveness import Fasnet, NoLiveness


@dataclass(frozen=True)
class Engine:
    """Everything that holds weights. Not for two threads at once: a worker process has one engine and one job."""

    weights: Weights
    detector: Detector
    aligner: Aligner
    embedder: Embedder
    liveness: Fasnet | NoLiveness

    def snapshot(self) -> dict[str, Any]:
        return {
            "model": self.embedder.model,
            "detector": self.detector.name,
            "liveness": type(self.liveness).__name__,
            "weights": str(self.weights.home),
        }


def load_engine(home: Path, operator_models: Path | None = None) -> Engine:
    """Checks every weights file, then loads the models. Raises WeightsError."""
    weights = prepare_weights(home, operator_models)
    # One check is one core's work; more threads only make twelve checks at once slower.
    cv2.setNumThreads(1)
    # Only now: DeepFace reads its environment when it is imported.
    from proctor.align import Aligner
    from proctor.detect import HogDetector, YuNetDetector
    from proctor.embed import Embedder
    from proctor.liveness import Fasnet, NoLiveness

    return Engine(
        weights=weights,
        detector=YuNetDetector(weights.yunet) if weights.yunet else HogDetector(),
        aligner=Aligner(weights.landmarks),
        embedder=Embedder(),
        liveness=Fasnet() if weights.fasnet else NoLiveness(),
    )


_warm: dict[tuple[Path, Path | None], Engine] = {}
_loading = threading.Lock()


def warm_engine(home: Path, operator_models: Path | None = None) -> Engine:
    """The process's engine for that configuration, loaded at the first call. Raises WeightsError."""
    with _loading:
        engine = _warm.get((home, operator_models))
        if engine is None:
            engine = _warm[home, operator_models] = load_engine(home, operator_models)
        return engine
