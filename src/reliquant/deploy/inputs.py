"""How an input is rounded, said in ONNX: QuantizeLinear and DequantizeLinear, and what they need before them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
from torch import nn

from reliquant.deploy.nodes import FLOATS, Builder, array_of, integer_type
from reliquant.grid import Grid
from reliquant.layers.arithmetic import SMALLEST_SCALE
from reliquant.layers.products import LogSqrt2
from reliquant.layers.twins import DynamicInput, SparedInput, StaticInput
from reliquant.study import sayable


def input_problem(rounding: nn.Module, /) -> str:
    """Say why ONNX cannot say how an input is rounded; empty if it can."""
    if isinstance(rounding, SparedInput):
        return input_problem(rounding.inner)
    if type(rounding) is nn.Identity:
        return ""
    if isinstance(rounding, LogSqrt2):
        return "probabilities are rounded to half octaves (log-sqrt2), for which ONNX has no type"
    if not isinstance(rounding, StaticInput | DynamicInput):
        return f"inputs are rounded by a {type(rounding).__name__}, which is no grid"
    return sayable.input_problem(replace(rounding.grid, dynamic=isinstance(rounding, DynamicInput)))


def offset(rounding: nn.Module, /) -> float:
    """Return by how much a rounded input is smaller than what DequantizeLinear gives for its codes.

    A learned zero point (LSQ+) may lie between two codes: the nearest code takes its place, and the rest is this.
    """
    inner = rounding.inner if isinstance(rounding, SparedInput) else rounding
    if not isinstance(inner, StaticInput) or inner.grid.is_float:
        return 0.0
    return float(np.float32(inner.zero - _nearest_zero(inner)) * np.float32(inner.scale))


def _nearest_zero(rounding: StaticInput) -> int:
    return int(np.clip(np.rint(rounding.zero), rounding.grid.low, rounding.grid.high))


def rounded_input(build: Builder, x: ir.Value, rounding: nn.Module, /) -> ir.Value:
    """Return x as the rounding has it: the same codes, but where x lies on the border between two.

    Where there is an `offset`, what is returned is larger by that.
    """
    if isinstance(rounding, SparedInput):
        return _spared(build, x, rounding)
    if type(rounding) is nn.Identity:
        return x
    if isinstance(rounding, StaticInput):
        if apart := offset(rounding):
            x = build.node("Add", [x, build.number_of("input.offset", apart)])
        return _static(build, x, rounding.grid, rounding.scale, _nearest_zero(rounding))
    return _dynamic(build, x, rounding)


def spared_mask(rounding: SparedInput, width: int, /) -> np.ndarray:
    """Return which of the columns of an input are not rounded, (width,)."""
    mask = np.zeros(width, bool)
    mask[array_of(rounding.columns)] = True
    return mask


def _spared(build: Builder, x: ir.Value, rounding: SparedInput) -> ir.Value:
    """Round all but the spared columns, which are 0 in what is returned: `filling` multiplies them apart."""
    mask = build.initializer("spared", spared_mask(rounding, int(x.shape[-1])))
    seen = build.node("Where", [mask, build.number_of("nothing", 0.0), x])
    seen.shape, seen.type = x.shape, x.type
    return rounded_input(build, seen, rounding.inner)


def _static(build: Builder, x: ir.Value, grid: Grid, scale: float, zero: int) -> ir.Value:
    step = build.number_of("input.scale", scale)
    if grid.bits > 8:  # OpenVINO 2026.4 strips QuantizeLinear of 16 bits, and so rounds nothing, or refuses the model
        inverse = build.number_of("input.inverse", np.float32(1) / np.float32(scale))
        low, high = (
            build.number_of(f"input.{name}", end - zero) for name, end in (("low", grid.low), ("high", grid.high))
        )
        return build.node("Mul", [_codes(build, build.node("Mul", [x, inverse]), low, high), step])
    if grid.is_float:
        middle = build.initializer("input.zero", np.array(0, FLOATS[grid.element]))
    else:
        middle = build.number_of("input.zero", zero, integer_type(grid.bits, grid.signed, least=8))
        if grid.bits < 8:  # the type holds more codes than the grid has
            ends = [np.float32(end - zero) * np.float32(scale) for end in (grid.low, grid.high)]
            low, high = (build.number_of(f"input.{name}", end) for name, end in zip(("low", "high"), ends, strict=True))
            x = build.node("Clip", [x, low, high])
    codes = build.node("QuantizeLinear", [x, step, middle])
    return build.node("DequantizeLinear", [codes, step, middle])


def _dynamic(build: Builder, x: ir.Value, rounding: DynamicInput) -> ir.Value:
    """Round x with a scale that is taken from it, from all of it or from each token, as `arithmetic.rounded` does.

    It is said in plain nodes: QuantizeLinear takes one scale for each token only of tokens one below the other, which
    OpenVINO 2026.4 answers with an empty tensor.
    """
    grid = rounding.grid
    least, nothing = build.number_of("smallest_scale", SMALLEST_SCALE), build.number_of("nothing", 0.0)
    first, last = build.number_of("low", grid.low), build.number_of("high", grid.high)
    axes = list(range(len(x.shape))) if grid.granularity == "tensor" else [rounding.axis % len(x.shape)]
    over = build.initializer("axes", np.array(axes, np.int64))
    low, high = (build.node(op, [x, over], keepdims=1) for op in ("ReduceMin", "ReduceMax"))
    if grid.symmetric:
        reach = build.node("Max", [build.node("Abs", [low]), build.node("Abs", [high])])
        scale = build.node("Max", [build.node("Div", [reach, last]), least])
        return build.node("Mul", [_codes(build, build.node("Div", [x, scale]), first, last), scale])
    low, high = build.node("Min", [low, nothing]), build.node("Max", [high, nothing])
    levels = build.number_of("levels", grid.high - grid.low)
    scale = build.node("Max", [build.node("Div", [build.node("Sub", [high, low]), levels]), least])
    zero = build.node("Sub", [first, build.node("Round", [build.node("Div", [low, scale])])])
    zero = build.node("Clip", [zero, first, last])
    codes = _codes(build, build.node("Add", [build.node("Div", [x, scale]), zero]), first, last)
    return build.node("Mul", [build.node("Sub", [codes, zero]), scale])


def _codes(build: Builder, x: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
    return build.node("Clip", [build.node("Round", [x]), low, high])
