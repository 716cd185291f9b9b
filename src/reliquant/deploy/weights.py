"""What a weight stands for, said in ONNX: codes at the width of a type, scales, zero points, DequantizeLinear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from reliquant.deploy.nodes import FLOATS, Builder, array_of, integer_type
from reliquant.layers.twins import QuantConv2d, SparedInput, Twin
from reliquant.study import sayable


@dataclass(frozen=True)
class Stored:
    """Hold a weight as DequantizeLinear takes it: codes (o, d), scale and zero point (o, k) or one number.

    k is 1, or the number of groups in a row. `zero` is None where all zero points are 0, of the type of the codes
    where they are such, else float32. `float16` says that scales are stored so.
    """

    codes: NDArray[Any]
    scale: NDArray[np.float32]
    zero: NDArray[Any] | None
    float16: bool


def weight_problem(layer: Twin, /) -> str:
    """Say why ONNX cannot say what a weight stands for; empty if it can, or where the weight is floating."""
    return "" if layer.codes is None else sayable.weight_problem(layer.weight_grid)


def weight_value(build: Builder, layer: Twin, /, *, as_float: bool = False, code_bits: int = 4) -> ir.Value:
    """Return what a layer's weight stands for: (i, o) of a Linear, as products take it, (o, i, h, w) of a convolution.

    `as_float` writes the number that each code stands for, in float32; `code_bits` is the least width of a code.
    """
    is_convolution = isinstance(layer, QuantConv2d)
    if layer.codes is None or as_float:
        weight = array_of(layer.weight.float())
        return build.initializer("weight", weight if is_convolution else np.ascontiguousarray(weight.T))
    stored = _stored(layer, code_bits)
    codes = stored.codes
    if isinstance(layer.input, SparedInput):  # these columns are multiplied apart: no code of theirs is read
        codes = codes.copy()
        codes[:, array_of(layer.input.columns)] = 0
    turns = not is_convolution and layer.held is None
    value = (_dequantized if _is_plain(layer, stored) else _looked_up)(build, stored, codes, layer, turns)
    if layer.held is not None:
        value = build.node("Transpose", [_with_held(build, value, layer)], perm=[1, 0])
    return value


def _is_plain(layer: Twin, stored: Stored) -> bool:
    """Whether one DequantizeLinear says a weight: its zero points are codes, and groups are whole ones of a Linear."""
    if layer.weight_grid.granularity == "group":
        whole = layer.weight.shape[1] % layer.weight_grid.group == 0
        if isinstance(layer, QuantConv2d) or not whole:
            return False
    return stored.zero is None or stored.zero.dtype == stored.codes.dtype


def _looked_up(build: Builder, stored: Stored, codes: NDArray[Any], layer: Twin, turns: bool) -> ir.Value:
    """Return (codes - zero) * scale by plain nodes, where a scale and a zero point are gathered for each input."""
    grid, shape = layer.weight_grid, tuple(layer.weight.shape)
    value = build.node("DequantizeLinear", [build.initializer("codes", codes), build.number_of("one", 1.0)])
    for name, op, numbers in (("zero", "Sub", stored.zero), ("scale", "Mul", stored.scale)):
        if numbers is None:
            continue
        kept = numbers.astype(np.float16) if stored.float16 else numbers.astype(np.float32)
        each = build.initializer(name, kept)
        each = build.cast(each, ir.DataType.FLOAT) if stored.float16 else each
        if numbers.shape[1] > 1:
            group_of = build.initializer("group_of_input", np.arange(codes.shape[1]) // grid.group)
            each = build.node("Gather", [each, group_of], axis=1)
        value = build.node(op, [value, each])
    if turns:
        return build.node("Transpose", [value], perm=[1, 0])
    return build.node("Reshape", [value, build.initializer("shape", np.array(shape, np.int64))])


def spared_product(build: Builder, x: ir.Value, layer: Twin, /) -> ir.Value:
    """Return what the spared columns of an input x (..., d) add to a layer's output."""
    columns = build.initializer("spared.columns", array_of(layer.input.columns).astype(np.int64))
    kept = build.node("Gather", [x, columns], axis=-1)
    return build.node("MatMul", [kept, build.initializer("spared.weight", array_of(layer.spared.float().t()))])


def _dequantized(build: Builder, stored: Stored, codes: NDArray[Any], layer: Twin, turns: bool) -> ir.Value:
    """Return the numbers of codes; with `turns` those of a Linear as (i, o)."""
    shape = tuple(layer.weight.shape)
    words: dict[str, Any] = {}
    if stored.scale.size > 1:
        words["axis"] = int(turns)
    if layer.weight_grid.granularity == "group":
        words = {"axis": int(not turns), "block_size": layer.weight_grid.group}

    def laid(array: NDArray[Any]) -> NDArray[Any]:
        """Lay out what there is one of per row, or per group of a row."""
        if array.size == 1:
            return array.reshape(())
        if array.shape[1] == 1 and "block_size" not in words:
            return array.reshape(-1)
        return np.ascontiguousarray(array.T) if turns else array

    codes = np.ascontiguousarray(codes.T) if turns else codes.reshape(shape)
    scale = laid(stored.scale)
    if stored.float16:  # the product is one of float32 numbers, as in the simulation
        step = build.cast(build.initializer("scale", scale.astype(np.float16)), ir.DataType.FLOAT)
    else:
        step = build.initializer("scale", scale)
    inputs = [build.initializer("codes", codes), step]
    if stored.zero is not None:
        inputs.append(build.initializer("zero", laid(stored.zero)))
    return build.node("DequantizeLinear", inputs, **words)


def _with_held(build: Builder, value: ir.Value, layer: Twin) -> ir.Value:
    """Add to a weight (o, d) what stays in floating point beside its codes."""
    held = layer.held
    value = build.node("Add", [value, build.initializer("held.mean", array_of(held.mean.float()))])
    if not len(held.rows):
        return value
    rows = build.initializer("held.rows", array_of(held.rows).astype(np.int64).reshape(-1, 1))
    return build.node("ScatterND", [value, rows, build.initializer("held.values", array_of(held.values.float()))])


def _stored(layer: Twin, least: int) -> Stored:
    """Return a weight's codes, scales and zero points in types of ONNX; zero points that are no codes stay floating.

    Zero points of half a step (StatsQ, DoReFa) become whole when codes and zero points are doubled.
    """
    grid = layer.weight_grid
    codes = array_of(layer.codes.flatten(1))
    groups = -(-codes.shape[1] // grid.group) if grid.granularity == "group" else 1
    scale, zero = (_by_row(numbers, len(codes), groups) for numbers in (layer.weight_scale, layer.weight_zero))
    is_half = grid.scales_as == "fp16"
    if grid.is_float:
        return Stored(codes.astype(np.uint8).view(FLOATS[grid.element]), scale, None, is_half)
    if not (zero % 1).any() and zero.min() >= grid.low and zero.max() <= grid.high:
        kind = integer_type(grid.bits, grid.signed, least=least)
        return Stored(codes.astype(kind), scale, zero.astype(kind) if zero.any() else None, is_half)
    if not (zero * 2 % 1).any() and (zero == zero.flat[0]).all():
        doubled = 2 * codes.astype(np.int32) - int(2 * zero.flat[0])
        for bits in (4, 8, 16):
            if -(2 ** (bits - 1)) <= doubled.min() and doubled.max() < 2 ** (bits - 1):
                return Stored(doubled.astype(integer_type(bits, True, least=least)), scale / 2, None, is_half)
    return Stored(codes.astype(integer_type(grid.bits, grid.signed, least=least)), scale, zero, is_half)


def _by_row(numbers: torch.Tensor, rows: int, groups: int) -> NDArray[np.float32]:
    """Return scales or zero points as (o, groups), or (1, 1) where the whole weight has one."""
    numbers = array_of(numbers.float())
    return numbers.reshape(1, 1) if numbers.size == 1 else numbers.reshape(rows, groups)
