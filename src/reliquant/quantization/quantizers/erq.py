"""ERQ (Zhong et al. 2024, 2025): ridge regression against what rounding inputs and then weights does to a layer.

RepQ-ViT's reparametrization comes first. Then each Linear's weight is updated so that it gives on rounded inputs what
it gave on exact ones (Aqer), and is rounded half by half, with refined directions of rounding, each half's error taken
out by those left and by the bias (Wqer). Inputs are those of the FP32 model. Only Linears are treated so; convolutions
are rounded to nearest. The published form is `weight, activation: {symmetric: false}`; softmax stays FP32 here.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from reliquant.grid import Grid
from reliquant.layers.arithmetic import affine, to_codes
from reliquant.layers.surgery import insert_twins
from reliquant.layers.twins import QuantLinear, Twin
from reliquant.layers.unrounded import unrounded
from reliquant.models.clip import Clip
from reliquant.quantization.calibrate import watch_inputs
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.moments import Codes, spread, stages
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.ranges import mse_bounds, weight_rows
from reliquant.quantization.reparametrize import reparametrize
from reliquant.quantization.ridge import Errors, against_inputs, against_weights

REFUSES = [({"activation.dynamic": True}, "it fixes one static scale per tensor; leave out dynamic")]
CANDIDATES, SMALLEST = 60, 0.02  # of the search of ranges of weights, as in `mse`


def quantizer(
    clip: Clip,
    names: list[str],
    proxy: Proxy,
    saved: Checkpoints,
    /,
    *,
    weight: Grid,
    activation: Grid,
    ridge: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1,
    flips: Annotated[int, Field(ge=0)] = 100,
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
    batch: Annotated[int, Field(ge=1)] = 64,
    pairs: Annotated[int, Field(ge=1)] = 256,
) -> None:
    """Quantize the named layers in place; the first `pairs` of the proxy give ranges and moments of inputs.

    `ridge` is lambda as a share of the mean square of a layer's inputs; `flips` bounds the refined roundings of a row.
    """
    if activation.dynamic:
        raise ValueError("erq fixes one static scale per tensor: activation takes no dynamic: true")
    if ridge <= 0 or flips < 0:
        raise ValueError(f"erq: needs ridge > 0 and flips >= 0, not {ridge} and {flips}")
    made = insert_twins(clip.model, names, weight, activation)
    reparametrize(clip, made, proxy, momentum=momentum, batch=batch, pairs=pairs)
    for layer in made.values():
        layer.settle()
    found = _mended(clip, made, proxy, ridge, flips, batch=batch, pairs=pairs)
    for name, layer in made.items():
        if name not in found:
            layer.freeze_absmax()
            continue
        value, codes = found.pop(name)
        layer.bias = torch.nn.Parameter(value[:, -1].to(layer.weight.dtype).contiguous())
        if codes is None:
            layer.weight = torch.nn.Parameter(value[:, :-1].to(layer.weight.dtype).contiguous())
        else:
            layer.freeze(*codes)


def _mended(
    clip: Clip, made: dict[str, Twin], proxy: Proxy, ridge: float, flips: int, /, *, batch: int, pairs: int
) -> dict[str, tuple[torch.Tensor, Codes | None]]:
    """Return of each Linear its codes and, as the last column of what comes before them, its bias.

    A weight that stays in floating point has no codes: it comes with its bias. Nothing of the model is changed before
    all is found, because each layer's inputs are those of FP32. Raises ValueError naming a layer without inputs.
    """
    found = {}
    for stage, names in stages(made, clip.parts).items():
        linears = {name: made[name] for name in names if isinstance(made[name], QuantLinear)}
        linears = {n: t for n, t in linears.items() if not (t.weight_grid.floating and t.activation_grid.floating)}
        seen = {name: Errors(layer.input.forward) for name, layer in linears.items()}
        with unrounded(clip.model):
            watch_inputs(clip, seen, proxy, batch=batch, pairs=pairs, until=clip.model.get_submodule(stage))
        for name, layer in linears.items():
            if not seen[name].count:
                raise ValueError(f"calibration: {name} saw no input; is it part of the model's forward?")
            found[name] = _rounded(layer, seen.pop(name), ridge, flips)
    return found


@torch.no_grad()
def _rounded(layer: Twin, seen: Errors, ridge: float, flips: int) -> tuple[torch.Tensor, Codes | None]:
    grid, weight = layer.weight_grid, layer.weight.detach().float()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().float()
    value = torch.cat([weight, bias[:, None]], 1)
    if not layer.activation_grid.floating:
        value = against_inputs(value, seen, ridge)
    if grid.floating:
        return value, None
    weight = value[:, :-1]
    scale, zero = affine(*mse_bounds(weight_rows(weight, grid), grid, CANDIDATES, SMALLEST), grid)
    scales, zeros = (spread(v, weight.shape, grid) for v in (scale, zero))
    codes, bias = against_weights(value, seen.gram, seen.penalty(ridge), scales, zeros, grid, flips)
    return bias[:, None], (to_codes(codes, grid), scale, zero)
