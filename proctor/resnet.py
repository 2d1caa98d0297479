"""dlib's face network on onnxruntime: the same weights and numbers, a tenth of the time.

The network is the one of dlib's examples/dnn_face_recognition_ex.cpp: a 7x7 convolution, a pool, fourteen residual
blocks of two 3x3 convolutions each (those that start a level halve the picture), a mean, a projection.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from deepface.commons.folder_utils import get_deepface_home
from deepface.config import threshold
from deepface.models.FacialRecognition import FacialRecognition
from deepface.modules import modeling

from proctor.dlib_weights import Convolution, ResnetWeights, read_resnet
from proctor.onnx_graph import OnnxGraph, one_core_session
from proctor.weights import RESNET

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "DlibOnnx"
CHIP_PX = 150
DIMENSIONS = 128
PIXEL_SCALE = 256.0  # dlib/dnn/input.h: (pixel - mean) / 256
BLOCKS = 14


def register() -> None:
    """Makes the network known to DeepFace under `NAME`, beside its own models."""
    modeling.AVAILABLE_MODELS["facial_recognition"][NAME] = {modeling.ANY: f"{__name__}.DlibOnnxClient"}
    threshold.thresholds[NAME] = threshold.thresholds["Dlib"]


class DlibOnnxClient(FacialRecognition):
    """As DeepFace calls its models: batches of BGR chips, 0..1, N x 150 x 150 x 3."""

    def __init__(self) -> None:
        self.model_name = NAME
        self.input_shape = (CHIP_PX, CHIP_PX)
        self.output_shape = DIMENSIONS
        path = Path(get_deepface_home()) / ".deepface" / "weights" / RESNET.name
        self.model = one_core_session(onnx_resnet(read_resnet(path.read_bytes())))

    def forward(self, img: NDArray[Any]) -> list[float] | list[list[float]]:
        """One vector for one chip, a list of vectors for a batch (DeepFace's convention)."""
        batch = img[None] if img.ndim == 3 else img
        rgb = np.rint(batch[:, :, :, ::-1] * 255.0).astype(np.float32)
        vectors = self.model.run(None, {"chips": np.ascontiguousarray(rgb.transpose(0, 3, 1, 2))})[0]
        return vectors[0].tolist() if len(vectors) == 1 else vectors.tolist()


def onnx_resnet(weights: ResnetWeights) -> bytes:
    """The model: "chips" (N x 3 x 150 x 150, RGB, 0..255) → "vectors" (N x 128). Raises ValueError otherwise."""
    if len(weights.convolutions) != 1 + 2 * BLOCKS:
        raise ValueError(f"{len(weights.convolutions)} convolutions are not dlib's face network")
    graph = OnnxGraph("dlib_face_recognition_resnet_model_v1")
    first, *rest = weights.convolutions
    layer = _Layer(graph, "chips", channels=3, side=CHIP_PX).convolution(_with_input(first, weights.means)).relu()
    layer = layer.pool("MaxPool", 3)
    for start in range(0, len(rest), 2):
        layer = _residual(layer, rest[start], rest[start + 1])
    mean = graph.node("Flatten", [graph.node("GlobalAveragePool", [layer.name], {})], {"axis": 1})
    vectors = graph.node("MatMul", [mean, graph.constant(weights.projection)], {})
    return graph.to_bytes("chips", ["n", 3, CHIP_PX, CHIP_PX], vectors, ["n", DIMENSIONS])


def _with_input(first: Convolution, means: tuple[float, float, float]) -> Convolution:
    """The input layer's mean and scale as part of the first convolution; exact, since that one has no padding."""
    filters = first.filters / np.float32(PIXEL_SCALE)
    shift = (filters * np.asarray(means, np.float32)[None, :, None, None]).sum(axis=(1, 2, 3))
    return replace(first, filters=filters, biases=first.biases - shift)


def _residual(layer: _Layer, first: Convolution, second: Convolution) -> _Layer:
    inside = layer.convolution(first).relu().convolution(second)
    past = layer if first.stride == 1 else layer.pool("AveragePool", 2)
    return inside.add(past).relu()


class _Layer:
    """A tensor in the graph, with the sizes that padding needs to know."""

    def __init__(self, graph: OnnxGraph, name: str, channels: int, side: int) -> None:
        self._graph, self.name, self._channels, self._side = graph, name, channels, side

    def convolution(self, weights: Convolution) -> _Layer:
        outputs, _, rows, columns = weights.filters.shape
        name = self._graph.node(
            "Conv",
            [self.name, self._graph.constant(weights.filters), self._graph.constant(weights.biases)],
            {"kernel_shape": [rows, columns], "strides": [weights.stride] * 2, "pads": [weights.padding] * 4},
        )
        side = (self._side + 2 * weights.padding - rows) // weights.stride + 1
        return _Layer(self._graph, name, outputs, side)

    def relu(self) -> _Layer:
        return self._as(self._graph.node("Relu", [self.name], {}))

    def pool(self, operator: str, window: int) -> _Layer:
        """By two, without padding."""
        name = self._graph.node(operator, [self.name], {"kernel_shape": [window] * 2, "strides": [2, 2]})
        return _Layer(self._graph, name, self._channels, (self._side - window) // 2 + 1)

    def add(self, other: _Layer) -> _Layer:
        """dlib adds tensors of unequal sizes as if the smaller were filled up with zeros (add_prev_)."""
        channels, side = max(self._channels, other._channels), max(self._side, other._side)
        mine, theirs = self._filled(channels, side), other._filled(channels, side)
        return _Layer(self._graph, self._graph.node("Add", [mine.name, theirs.name], {}), channels, side)

    def _filled(self, channels: int, side: int) -> _Layer:
        more = [0, 0, 0, 0, 0, channels - self._channels, side - self._side, side - self._side]
        if not any(more):
            return self
        pads = self._graph.constant(np.asarray(more, np.int64))
        return _Layer(self._graph, self._graph.node("Pad", [self.name, pads], {}), channels, side)

    def _as(self, name: str) -> _Layer:
        return _Layer(self._graph, name, self._channels, self._side)
