"""Writes an ONNX model, the few kinds of fields that a convolutional network needs, and runs it on one core.

Field numbers: onnx/onnx.proto3 (IR version 8). Encoding: the protocol buffers wire format, where a field is its number
and wire type, then a varint (type 0) or a length and bytes (type 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from numpy.typing import NDArray

IR_VERSION = 8
OPSET = 13
FLOAT, INT64 = 1, 7  # TensorProto.DataType
ATTRIBUTE_INT, ATTRIBUTE_INTS = 2, 7  # AttributeProto.AttributeType


def one_core_session(model: bytes | str) -> onnxruntime.InferenceSession:
    """Runs a model file, or its bytes, on one core: the pool's other processes have checks of their own, and threads
    that wait for each other's eighty-pixel pictures cost more than they save.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OnnxGraph:
    """Collects nodes and constants; `to_bytes` is the model file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._names = 0

    def constant(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Adds a tensor; its name."""
        kind = {np.dtype(np.float32): FLOAT, np.dtype(np.int64): INT64}[values.dtype]
        name = self._new_name("constant")
        dimensions = b"".join(_integer(1, size) for size in values.shape)
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        self._constants.append(dimensions + _integer(2, kind) + _text(8, name) + _bytes(9, little))
        return name

    def node(self, operator: str, inputs: Sequence[str], attributes: Mapping[str, int | Sequence[int]]) -> str:
        """Adds an operator; the name of its output."""
        name = self._new_name(operator)
        fields = [_text(1, value) for value in inputs] + [_text(2, name), _text(3, name), _text(4, operator)]
        for key, value in attributes.items():
            if isinstance(value, int):
                attribute = _text(1, key) + _integer(3, value) + _integer(20, ATTRIBUTE_INT)
            else:
                attribute = _text(1, key) + b"".join(_integer(8, item) for item in value)
                attribute += _integer(20, ATTRIBUTE_INTS)
            fields.append(_bytes(5, attribute))
        self._nodes.append(b"".join(fields))
        return name

    def to_bytes(
        self, feed: str, feed_shape: Sequence[int | str], result: str, result_shape: Sequence[int | str]
    ) -> bytes:
        """The model whose input is `feed` and whose output is `result`; a name as a size is a free dimension."""
        graph = b"".join(_bytes(1, node) for node in self._nodes) + _text(2, self._name)
        graph += b"".join(_bytes(5, constant) for constant in self._constants)
        graph += _bytes(11, _value(feed, feed_shape)) + _bytes(12, _value(result, result_shape))
        return _integer(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, _text(1, "") + _integer(2, OPSET))

    def _new_name(self, stem: str) -> str:
        self._names += 1
        return f"{stem}_{self._names}"


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    """ValueInfoProto of a float tensor."""
    sizes = b"".join(_bytes(1, _integer(1, size) if isinstance(size, int) else _text(2, size)) for size in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _integer(1, FLOAT) + _bytes(2, sizes)))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
