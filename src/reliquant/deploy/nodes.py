"""Build ONNX nodes one after the other, before a place in a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

OPSET = 21  # the first with 4-bit integers and blocks of DequantizeLinear


class Builder:
    """Insert nodes before a node of a graph; their names begin with that of a place and of the part that they make."""

    def __init__(self, graph: ir.Graph, before: ir.Node, place: str, part: str, /) -> None:
        self.graph, self.before, self.place, self.part = graph, before, place, part
        self.number = 0

    def node(self, op: str, inputs: Sequence[ir.Value | None], /, **attributes: Any) -> ir.Value:
        """Insert a node with one output, and return that."""
        self.number += 1
        name = f"{self.place}.{self.part}.{op}_{self.number}"
        made = ir.node(op, inputs, attributes, name=name)
        made.outputs[0].name = f"{name}.output"
        self.graph.insert_before(self.before, made)
        return made.outputs[0]

    def initializer(self, name: str, array: NDArray[Any], /) -> ir.Value:
        """Return an array as an initializer, under the name of the place and its own; the same again if it is there."""
        full = f"{self.place}.{name}"
        if full in self.graph.initializers:
            return self.graph.initializers[full]
        tensor = ir.tensor(array, name=full)
        value = ir.Value(name=full, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def number_of(self, name: str, number: float, kind: Any = np.float32, /) -> ir.Value:
        """Return a single number as an initializer."""
        return self.initializer(name, np.array(number, kind))

    def cast(self, x: ir.Value, to: ir.DataType, /) -> ir.Value:
        """Return x in another type."""
        return self.node("Cast", [x], to=int(to))


INTEGERS: dict[tuple[int, bool], Any] = {  # by bits and sign, the types of ONNX that hold codes
    (4, True): ml_dtypes.int4,
    (4, False): ml_dtypes.uint4,
    (8, True): np.int8,
    (8, False): np.uint8,
    (16, True): np.int16,
    (16, False): np.uint16,
}
FLOATS: dict[str, Any] = {"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}


def integer_type(bits: int, signed: bool, /, *, least: int = 4) -> Any:
    """Return the narrowest type of ONNX, of at least so many bits, that holds integers of so many bits.

    >>> integer_type(3, True), integer_type(6, False)
    (<class 'ml_dtypes.int4'>, <class 'numpy.uint8'>)
    """
    width = next(width for width in (4, 8, 16) if width >= max(bits, least))
    return INTEGERS[width, signed]


def array_of(tensor: torch.Tensor, /) -> NDArray[Any]:
    """Return a tensor as an array on the CPU."""
    return tensor.detach().cpu().numpy()
