"""LLM.int8() (Dettmers et al. 2022, Equation 8): keep input columns with outliers in high precision, round the rest.

A column of a Linear's input is an outlier if any calibration input in it exceeds the threshold. (The paper decides anew
for each batch; here it is decided once, so that an image's result does not depend on its neighbours.) The weights that
meet such a column are kept as they are. The published form is `activation: {granularity: token, dynamic: true}`, with
one scale per token and one per weight row. Conv2d has no columns and is rounded to nearest.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins
from reliquant.layers.twins import QuantLinear, Twin
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import fix_inputs, watch_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.observers import ChannelRange, Range
from reliquant.quantization.proxy import Proxy


def quantizer(
    clip: Clip,
    names: list[str],
    proxy: Proxy,
    saved: Checkpoints,
    /,
    *,
    weight: Grid,
    activation: Grid,
    threshold: float = 6.0,
    momentum: float = 0.1,
    batch: int = 64,
    pairs: int = 512,
) -> None:
    """Quantize the named layers in place; the first `pairs` of the proxy show outliers and ranges of the rest."""
    if threshold <= 0:
        raise ValueError(f"llm_int8: threshold must be positive, not {threshold}")
    made = insert_twins(clip.model, names, weight, activation)
    observers = {
        name: ChannelRange(momentum) if isinstance(layer, QuantLinear) else Range(momentum)
        for name, layer in made.items()
    }
    watch_inputs(clip, observers, proxy, batch=batch, pairs=pairs)
    spare_outliers(made, observers, threshold)


def spare_outliers(
    made: Mapping[str, Twin], observers: Mapping[str, ChannelRange | Range], threshold: float, /
) -> None:
    """Quantize observed layers in place; those observed per channel spare the columns that exceed the threshold."""
    for layer in made.values():
        layer.settle()  # below, columns are taken out of weights for a while
    columns = {}
    for name, seen in observers.items():
        if isinstance(seen, ChannelRange):
            columns[name] = _outliers(name, seen, threshold)
    fix_inputs(made, observers)
    for name, layer in made.items():
        spared = columns.get(name, ())
        values = layer.weight.detach()[:, spared].clone() if len(spared) else None
        if values is not None:
            rest = layer.weight.detach().index_fill(1, spared, 0)  # so that the scale is that of the other columns
            layer.weight = nn.Parameter(rest, requires_grad=False)
        layer.freeze_absmax()
        if values is not None:
            layer.spare(spared, values)


def _outliers(name: str, seen: ChannelRange, threshold: float) -> torch.Tensor:
    """Return the columns that exceed the threshold, (k,), and hide them from the range of the rest."""
    if not seen.count:
        raise ValueError(f"calibration: {name} saw no input; is it part of the model's forward?")
    outlier = seen.absmax > threshold
    seen.block.masked_fill_(outlier, 0)
    return outlier.nonzero()[:, 0]
