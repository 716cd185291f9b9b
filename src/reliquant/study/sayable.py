"""What ONNX cannot say of a scheme, as far as the words of its grids tell; free of torch.

`deploy/inputs.py` and `deploy/weights.py` ask the same of the grids of layers, which are known later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reliquant.grid import Grid
from reliquant.study.config import at_own_precision, with_grids
from reliquant.study.layer_words import attention_of

FLOATS = ("e4m3", "e5m2")  # small floats that QuantizeLinear and DequantizeLinear have in opset 21
LEAVE_OUT = "name `schemes` or `precisions` of deploy without it"


def unsayable(entry: Mapping[str, Any], precision: str, /, *, float_weights: bool = False) -> Iterator[str]:
    """Say what ONNX cannot say of a scheme's words at a precision, layers of another precision and attention too.

    `float_weights`: weights that it cannot say are written as float32.
    """
    others = (entry.get("layers") or {}).get("other", {})
    words = [with_grids(entry, precision)]
    words += [with_grids(at_own_precision(entry, each), each) for each in others.values()]
    for each in words:
        if problem := input_problem(Grid(**each["activation"])):
            yield f"{problem}; no word makes it so; {LEAVE_OUT}"
        problem = "" if float_weights else weight_problem(Grid(**each["weight"]))
        if problem:
            yield f"{problem}; float_weights: true writes them as float32, or {LEAVE_OUT}"
    if problem := _of_attention(entry, precision):
        yield f"{problem}; no word makes it so; {LEAVE_OUT}"


def input_problem(grid: Grid, /) -> str:
    """Say why ONNX cannot say how a grid rounds inputs; empty if it can."""
    if grid.floating:
        return ""
    if grid.is_float and grid.element not in FLOATS:
        return f"inputs are numbers of {grid.element}, a type that QuantizeLinear does not have in opset 21"
    if grid.dynamic and grid.granularity == "group":
        return "inputs have one scale per block of a token, taken from each input"
    if grid.dynamic and grid.is_float:
        return "inputs are small floats whose scale is taken from each input"
    return ""


def weight_problem(grid: Grid, /) -> str:
    """Say why ONNX cannot say what codes of a grid stand for; empty if it can."""
    if grid.floating:
        return ""
    if grid.is_float and grid.element not in FLOATS:
        return f"weights are numbers of {grid.element}, a type that DequantizeLinear does not have in opset 21"
    if grid.scales_as in ("e8m0", "e4m3"):
        return f"scales are numbers of {grid.scales_as.upper()}, a type that DequantizeLinear does not take in opset 21"
    return ""


def _of_attention(entry: Mapping[str, Any], precision: str) -> str:
    """Say why ONNX cannot say how the factors of attention products are rounded; empty if it can."""
    attention = attention_of(entry)
    if attention is None:
        return ""
    if attention.probabilities == "log_sqrt2":
        return "probabilities are rounded to half octaves (log-sqrt2), for which ONNX has no type"
    words = {word: value for word, value in entry.get("activation", {}).items() if word in ("granularity", "dynamic")}
    return input_problem(Grid(**{**words, **attention.words(precision)}))
