"""Second moments X X^T of layers' inputs, and what they serve: GPTQ's codes, and the exact output error of others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import blocks, fitted, nearest_codes, to_codes, unblocks, weight_affine
from reliquant.layers.twins import QuantLinear, Twin
from reliquant.models.clip import Clip
from reliquant.models.parts import Parts
from reliquant.quantization.calibrate import watch_inputs
from reliquant.quantization.proxy import Proxy

Codes = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # codes, scale, zero point


@dataclass
class Moments:
    """Add up x x^T and |x| over the rows of a Linear's input, rounded as the layer will round it."""

    layer: Twin
    count: int = 0
    gram: torch.Tensor | None = None
    absolute: torch.Tensor | None = None

    def update(self, x: torch.Tensor, /) -> None:
        """Take one batch of inputs into account; raise ValueError on NaN or infinite values."""
        # `forward` and no call, because a call would run the hook of the input quantizer that called this
        rows = self.layer.input.forward(x.detach()).float().flatten(0, -2)
        if not torch.isfinite(rows.sum()):
            raise ValueError("NaN or infinite values")
        if self.gram is None:
            width = rows.shape[1]
            self.gram, self.absolute = rows.new_zeros(width, width), rows.new_zeros(width)
        self.gram += rows.T @ rows  # in place, so that tensors that stay do not move among those that come and go
        self.absolute += rows.abs().sum(0)
        self.count += len(rows)


def stages(names: Iterable[str], parts: Parts, /) -> dict[str, list[str]]:
    """Group layers by the block that holds them, in order; a layer outside the blocks is a group of its own.

    >>> parts = Parts(("visual",), (), ("visual.blocks.0", "visual.blocks.1"))
    >>> stages(["visual.blocks.0.fc1", "visual.blocks.0.fc2", "visual.blocks.1.fc1"], parts)
    {'visual.blocks.0': ['visual.blocks.0.fc1', 'visual.blocks.0.fc2'], 'visual.blocks.1': ['visual.blocks.1.fc1']}
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(parts.block_of(name) or name, []).append(name)
    return groups


def moments_of(
    clip: Clip, made: dict[str, Twin], proxy: Proxy, /, *, stage: str, batch: int, pairs: int
) -> dict[str, Moments]:
    """Return the input moments of each given layer that is a Linear; forwards end after the module named `stage`.

    Raises ValueError with the name of a layer that saw no input.
    """
    seen = {name: Moments(layer) for name, layer in made.items() if isinstance(layer, QuantLinear)}
    watch_inputs(clip, seen, proxy, batch=batch, pairs=pairs, until=clip.model.get_submodule(stage))
    for name, moments in seen.items():
        if not moments.count:
            raise ValueError(f"calibration: {name} saw no input; is it part of the model's forward?")
    return seen


def gptq(
    clip: Clip,
    made: dict[str, Twin],
    proxy: Proxy,
    /,
    *,
    damp: float,
    block: int,
    act_order: bool,
    batch: int,
    pairs: int,
) -> None:
    """Freeze the layers by GPTQ, block after block, each on what the quantized blocks before it give.

    Conv2d are frozen by absmax. `damp`, `block` and `act_order` are those of `gptq_codes`.
    """
    for stage, names in stages(made, clip.parts).items():
        layers = {name: made[name] for name in names}
        _freeze(layers, moments_of(clip, layers, proxy, stage=stage, batch=batch, pairs=pairs), damp, block, act_order)


def _freeze(layers: dict[str, Twin], seen: dict[str, Moments], damp: float, block: int, act_order: bool) -> None:
    """Freeze the layers of a block; moments are used up, so that they take no memory from those of the next."""
    for name, layer in layers.items():
        if name in seen and not layer.weight_grid.floating:
            moments = seen.pop(name)
            hessian = moments.gram.mul_(2 / moments.count)
            weight = layer.weight.detach()
            layer.freeze(*gptq_codes(weight, hessian, layer.weight_grid, damp, block, act_order=act_order))
        else:
            layer.freeze_absmax()


@torch.no_grad()
def gptq_codes(
    weight: torch.Tensor, hessian: torch.Tensor, grid: Grid, damp: float, block: int, /, *, act_order: bool
) -> Codes:
    """Round a weight (o, d) column by column, each time correcting the columns to come (Frantar et al. 2023, Alg. 1).

    `hessian` is 2 X X^T (d, d); `damp` times its mean diagonal is added to it. `block` columns are corrected together.
    With `act_order` columns come in the order of the Hessian's diagonal, largest first. Scales cover the given weight;
    that of a group, without `act_order`, covers the group as it is corrected when its first column comes. Columns that
    meet only zeros are rounded to nearest: the Hessian knows nothing of them.
    """
    if weight.is_meta:  # a plan asks for shapes alone, of which thousands of columns would have the same
        scale, zero = weight_affine(weight, fitted(weight, grid))
        return to_codes(weight, grid), scale.float(), zero.float()
    width = weight.shape[1]
    diagonal = _without_zeros(hessian.diagonal().clone())
    order = diagonal.argsort(descending=True) if act_order else torch.arange(width, device=weight.device)
    weight = weight.to(hessian.dtype)
    grid = fitted(weight, grid)
    scale, zero = weight_affine(weight, grid)
    left = weight[:, order].T.contiguous()  # (d, o): a column of the weight is a row here
    upper = _inverse_factor(hessian, order, damp)
    scales, zeros = (spread(v, weight.shape, grid)[:, order].T.contiguous() for v in (scale, zero))
    moving = grid.granularity == "group" and not act_order
    codes = torch.empty_like(left)
    for start in range(0, width, block):
        stop = min(start + block, width)
        errors = torch.empty_like(left[start:stop])
        for i in range(start, stop):
            if moving and i % grid.group == 0:
                last = min(i + grid.group, width)
                fresh = weight_affine(_pending(left, upper, errors, start, stop, i, last).T, grid)
                scales[i:last], zeros[i:last] = (v.reshape(-1) for v in fresh)
            codes[i] = nearest_codes(left[i], scales[i], zeros[i], grid)
            errors[i - start] = (left[i] - (codes[i] - zeros[i]) * scales[i]) / upper[i, i]
            left[i + 1 : stop] -= torch.outer(upper[i, i + 1 : stop], errors[i - start])
        left[stop:] -= upper[start:stop, stop:].T @ errors
    if moving:
        scale, zero = (v.T.reshape(len(weight), -1)[:, :: grid.group].reshape(-1, 1) for v in (scales, zeros))
    final = torch.empty_like(codes)
    final[order] = codes
    return to_codes(final.T.contiguous(), grid), scale.float(), zero.float()


def output_error(error: torch.Tensor, gram: torch.Tensor, /) -> torch.Tensor:
    """Return sum over inputs x of (e x)^2 for each row e of a weight error (o, d), given the sum of x x^T (d, d)."""
    return ((error @ gram) * error).sum(1)


def _pending(
    left: torch.Tensor, upper: torch.Tensor, errors: torch.Tensor, start: int, stop: int, first: int, last: int
) -> torch.Tensor:
    """Return columns `first` to `last`, even beyond this block, corrected by all columns before `first`."""
    now = left[first:last].clone()
    if last > stop:
        now[stop - first :] -= upper[start:first, stop:last].T @ errors[: first - start]
    return now


def spread(value: torch.Tensor, shape: torch.Size, grid: Grid) -> torch.Tensor:
    """Spread values, one per scale (rows, 1), over the columns of a weight (o, d)."""
    like = blocks(torch.zeros(shape, device=value.device), grid)
    return unblocks(value.expand(like.shape).contiguous(), shape, grid)


def _inverse_factor(hessian: torch.Tensor, order: torch.Tensor, damp: float) -> torch.Tensor:
    """Return the upper Cholesky factor of the inverse of the damped Hessian; where that fails, damp ten times more.

    Rows and columns come in the given order. Beside the Hessian two matrices of its size are held at a time, at most.
    """
    while damp < 1e3:
        factor, failed = torch.linalg.cholesky_ex(_damped(hessian, order, damp))
        if not failed:
            inverse = torch.cholesky_inverse(factor)
            del factor  # before another is made
            upper, failed = torch.linalg.cholesky_ex(inverse, upper=True)
            if not failed:
                return upper
        damp *= 10
    raise ValueError("the Hessian of a layer is not positive definite whatever the damping")


def _damped(hessian: torch.Tensor, order: torch.Tensor, damp: float) -> torch.Tensor:
    """Return a Hessian with its rows and columns in an order, and `damp` times its mean diagonal added to that."""
    made = hessian[order][:, order]
    diagonal = _without_zeros(made.diagonal())
    diagonal += damp * diagonal.mean()
    return made


def _without_zeros(diagonal: torch.Tensor) -> torch.Tensor:
    """Put 1, in place, where a diagonal is 0: in the columns that meet only zeros."""
    diagonal[diagonal == 0] = 1
    return diagonal
