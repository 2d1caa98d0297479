"""Reads the face network's parameters out of dlib's own file, so that a faster runtime can use the very same ones.

dlib writes a network as it is called, from input to output; each layer starts with its name and version. Formats:
dlib/serialize.h (integers, floats), dlib/cuda/tensor.h (tensors), dlib/dnn/layers.h (con_4, affine_, fc_2),
dlib/dnn/input.h (input_rgb_image_sized).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float32]

TENSOR_VERSION = 2


@dataclass(frozen=True)
class Convolution:
    """`filters`: outputs x inputs x rows x columns. The affine layer that follows each one is folded into it."""

    filters: Numbers
    biases: Numbers
    stride: int
    padding: int


@dataclass(frozen=True)
class ResnetWeights:
    """`means` are of red, green, blue; `projection` is 256 x 128."""

    means: tuple[float, float, float]
    convolutions: tuple[Convolution, ...]
    projection: Numbers


def read_resnet(data: bytes) -> ResnetWeights:
    """The parameters in the file's order. Raises ValueError when the bytes are not such a network.

    The caller has checked the file's SHA-256: nothing here guards against malice.
    """
    reader = _Reader(data)
    reader.seek_layer("input_rgb_image_sized")
    means = (reader.real(), reader.real(), reader.real())
    convolutions = []
    while reader.finds_layer("con_4"):
        convolutions.append(_convolution(reader))
    reader.seek_layer("fc_2")
    outputs, inputs = reader.integer(), reader.integer()
    return ResnetWeights(means, tuple(convolutions), reader.tensor().reshape(inputs, outputs))


def _convolution(reader: _Reader) -> Convolution:
    reader.seek_layer("con_4")
    parameters = reader.tensor()
    outputs, rows, columns = reader.integer(), reader.integer(), reader.integer()
    stride_y, stride_x, padding_y, padding_x = (reader.integer() for _ in range(4))
    if stride_y != stride_x or padding_y != padding_x:
        raise ValueError("a convolution with unequal steps")
    reader.seek_layer("affine_")
    # Scales then offsets: dlib/dnn/layers.h affine_::forward computes gamma * x + beta.
    scales, offsets = np.split(reader.tensor(), 2)
    filters = parameters[:-outputs].reshape(outputs, -1, rows, columns)
    return Convolution(
        filters=filters * scales[:, None, None, None],
        biases=parameters[-outputs:] * scales + offsets,
        stride=stride_y,
        padding=padding_y,
    )


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def finds_layer(self, name: str) -> bool:
        return self._data.find(self._tag(name), self._at) >= 0

    def seek_layer(self, name: str) -> None:
        tag = self._tag(name)
        found = self._data.find(tag, self._at)
        if found < 0:
            raise ValueError(f"no layer {name} in this network")
        self._at = found + len(tag)

    @staticmethod
    def _tag(name: str) -> bytes:
        """A string is its length as an integer, then its bytes."""
        return bytes([1, len(name)]) + name.encode()

    def integer(self) -> int:
        """One byte says how many follow (low half) and the sign (high bit); they are little endian."""
        if self._at >= len(self._data):
            raise ValueError("the network's file ends inside a layer")
        control = self._data[self._at]
        length = control & 0x0F
        value = int.from_bytes(self._data[self._at + 1 : self._at + 1 + length], "little")
        self._at += 1 + length
        return -value if control & 0x80 else value

    def real(self) -> float:
        """Mantissa and binary exponent, as integers."""
        mantissa = self.integer()
        return math.ldexp(mantissa, self.integer())

    def tensor(self) -> Numbers:
        """Flat, single precision, little endian."""
        version = self.integer()
        if version != TENSOR_VERSION:
            raise ValueError(f"tensor version {version}")
        count = math.prod(self.integer() for _ in range(4))
        end = self._at + 4 * count
        if end > len(self._data):
            raise ValueError("the network's file ends inside a tensor")
        numbers = np.frombuffer(self._data[self._at : end], "<f4").astype(np.float32)
        self._at = end
        return numbers
