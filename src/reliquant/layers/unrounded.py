"""A quantized model with rounding switched off: what its twins compute in floating point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from reliquant.layers.products import pieces
from reliquant.layers.surgery import twins


@contextmanager
def unrounded(model: nn.Module, /) -> Iterator[None]:
    """Let twins and attention of a model compute in floating point while the block runs; frozen weights stay codes."""
    active = [piece for piece in pieces(model).values() if piece.active]
    rules = {layer: (layer.input, layer.weight_rule) for layer in twins(model).values()}
    for layer in rules:
        layer.input, layer.weight_rule = nn.Identity(), None
    for piece in active:
        piece.active = False
    try:
        yield
    finally:
        for layer, (input_rule, weight_rule) in rules.items():
            layer.input, layer.weight_rule = input_rule, weight_rule
        for piece in active:
            piece.active = True
