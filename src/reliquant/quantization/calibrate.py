"""Fix the grids of layers' inputs from what flows into them on the proxy pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

import torch
from torch import nn

from reliquant.layers.arithmetic import affine, fitted
from reliquant.layers.twins import DynamicInput, StaticInput, Twin
from reliquant.models.clip import Clip
from reliquant.quantization.observers import Bounds, Range, observed
from reliquant.quantization.pages import LARGE, pages_of_their_own
from reliquant.quantization.proxy import Proxy


class _Reached(Exception):
    """End a forward that has come as far as it is needed."""


def feed(
    clip: Clip,
    names: Iterable[str],
    proxy: Proxy,
    /,
    *,
    batch: int,
    pairs: int | None = None,
    until: nn.Module | None = None,
) -> None:
    """Run the first `pairs` proxy pairs (all if None) through the towers that hold the named modules.

    With `until` each forward ends as soon as that module has run.
    """
    _found(clip)
    handle = until.register_forward_hook(_stop) if until is not None else None
    try:
        _feed(clip, names, proxy, batch, pairs)
    finally:
        if handle:
            handle.remove()


def _feed(clip: Clip, names: Iterable[str], proxy: Proxy, batch: int, pairs: int | None) -> None:
    names = list(names)
    of_image, of_text = (any(clip.parts.in_tower(name, tower) for name in names) for tower in ("image", "text"))
    encoders = (clip.model.encode_image if of_image else None, clip.model.encode_text if of_text else None)
    left = len(proxy.captions) if pairs is None else min(pairs, len(proxy.captions))
    with torch.no_grad():
        for pixels, tokens, _ in islice(proxy.in_order(clip, batch), -(-left // batch)):
            for encode, x in zip(encoders, (pixels, tokens), strict=True):
                if encode is not None:
                    with suppress(_Reached):
                        encode(x[:left])
            left -= len(tokens)


def _found(clip: Clip) -> None:
    """Find the parts of a model before its modules are watched: that takes a forward of its own."""
    clip.parts  # noqa: B018


def _stop(module: nn.Module, inputs: Any, output: Any) -> None:
    raise _Reached


def calibrate_inputs(
    clip: Clip, made: dict[str, Twin], proxy: Proxy, /, *, momentum: float, batch: int, pairs: int | None = None
) -> None:
    """Give each twin its input quantizer: a static scale from moving averages over the proxy, or a dynamic one.

    Symmetric grids cover the averaged absolute maximum, others the averaged lowest and highest input. Raises ValueError
    with the layer's name when its inputs hold NaN.
    """
    observers = {name: Range(momentum) for name, layer in made.items() if is_static(layer)}
    with pages_of_their_own(LARGE):
        watch_inputs(clip, observers, proxy, batch=batch, pairs=pairs)
    fix_inputs(made, observers)


def watch_inputs(
    clip: Clip,
    observers: Mapping[str, Any],
    proxy: Proxy,
    /,
    *,
    batch: int,
    pairs: int | None = None,
    until: nn.Module | None = None,
) -> None:
    """Show twins' inputs on the first `pairs` pairs (None: all), transformed but not rounded, to their observers."""
    if observers:
        _found(clip)
        with observed(clip.model, {f"{name}.input": observer for name, observer in observers.items()}):
            feed(clip, observers, proxy, batch=batch, pairs=pairs, until=until)


def fix_inputs(made: Mapping[str, Twin], observers: Mapping[str, Bounds], /) -> None:
    """Give each twin its input quantizer: dynamic, or static over the bounds that its observer found.

    Raises ValueError with the name of a layer that saw nothing.
    """
    for name, layer in made.items():
        grid = layer.activation_grid
        if grid.floating:
            continue
        if not is_static(layer):
            layer.input = DynamicInput(grid, layer.inputs)
            continue
        bounds = observers[name].bounds(grid)
        if bounds is None:
            raise ValueError(f"calibration: {name} saw no input; is it part of the model's forward?")
        if grid.dynamic:
            layer.activation_grid = fitted(torch.maximum(bounds[0].abs(), bounds[1].abs()).item(), grid)
            layer.input = DynamicInput(layer.activation_grid, layer.inputs)
            continue
        scale, zero = affine(*bounds, grid)
        layer.input = StaticInput(grid, scale.item(), int(zero.item()))


def is_static(layer: Twin, /) -> bool:
    """Whether a layer's inputs take their range, or of NVFP4 the scale of the whole tensor, from calibration."""
    grid = layer.activation_grid
    return not grid.floating and (not grid.dynamic or grid.scales_as == "e4m3")
