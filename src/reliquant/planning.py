"""What a scheme would quantize in a model, layer by layer, before anything is calibrated."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from reliquant.clip import Clip
from reliquant.coverage import coverage
from reliquant.grid import Grid
from reliquant.surgery import Scope, insert_twins, targets, unpack_attention
from reliquant.twins import StaticInput


def plan_model(clip: Clip, entry: Mapping[str, Any], scope: Scope, /) -> dict[str, Any]:
    """Return each product of one image and one caption with its grids, or why it stays FP32, and the shares covered.

    The model is run once with round-to-nearest twins in the layers that the scheme's grids apply to; it is not changed.
    """
    model = copy.deepcopy(clip.model)
    unpack_attention(model)
    weight, activation = Grid(**entry["weight"]), Grid(**entry["activation"])
    for layer in insert_twins(model, targets(model, scope), weight, activation).values():
        if not activation.floating:
            layer.input = StaticInput(activation, 1.0)
        layer.freeze_absmax()

    def run() -> None:
        model.encode_image(torch.zeros(1, 3, clip.size, clip.size))
        model.encode_text(clip.tokenizer(["a photo"]))

    seen = coverage(model, scope, run)
    products = [
        {
            "module": p.module,
            "weight": "fp32" if p.reason else described(weight),
            "activation": "fp32" if p.reason else described(activation),
            "macs": p.macs,
            "reason": p.reason,
        }
        for p in seen.products
    ]
    shares = {
        "share of weights quantized": seen.weight_share,
        "share of multiply-accumulates quantized": seen.mac_share,
    }
    return {"products": products, "shares": shares}


def described(grid: Grid, /) -> str:
    """Name a grid in a few words.

    >>> described(Grid(bits=4, granularity="group", group=32))
    'int4 / group 32'
    """
    if grid.floating:
        return "fp32"
    kind = f"{'int' if grid.signed else 'uint'}{grid.bits}"
    run = f" {grid.group}" if grid.granularity == "group" else ""
    return f"{kind} / {'dynamic ' if grid.dynamic else ''}{grid.granularity}{run}" + (
        "" if grid.symmetric else " + zero"
    )
