"""Fix the grids of a model's inputs from what flows through it on the proxy pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol

import torch

from reliquant.clip import Clip
from reliquant.fakequant import affine
from reliquant.grid import Grid
from reliquant.observe import Range, observed
from reliquant.proxy import Proxy
from reliquant.surgery import tower_of
from reliquant.twins import DynamicInput, StaticInput, Twin


class Bounds(Protocol):
    """What watches a layer's input and then says which range its grid should cover."""

    def update(self, x: torch.Tensor, /) -> None:
        """Take one batch of inputs into account."""

    def bounds(self, grid: Grid, /) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return the lowest and highest value to cover, or None if nothing was seen."""


def feed(clip: Clip, names: Iterable[str], proxy: Proxy, /, *, batch: int, pairs: int | None = None) -> None:
    """Run the first `pairs` proxy pairs (all if None) through those towers that hold the named modules."""
    towers = {tower_of(name) for name in names}
    left = len(proxy.captions) if pairs is None else min(pairs, len(proxy.captions))
    with torch.no_grad():
        for pixels, tokens, _ in islice(proxy.in_order(clip, batch), -(-left // batch)):
            if "image" in towers:
                clip.model.encode_image(pixels[:left])
            if "text" in towers:
                clip.model.encode_text(tokens[:left])
            left -= len(tokens)


def calibrate_inputs(
    clip: Clip,
    made: dict[str, Twin],
    proxy: Proxy,
    /,
    *,
    momentum: float,
    batch: int,
    pairs: int | None = None,
    watch: Callable[[], Bounds] | None = None,
) -> None:
    """Give each twin its input quantizer: a static scale from what the proxy's pairs show, or a dynamic one.

    By default symmetric grids cover the moving average of the absolute maximum, others that of the lowest and highest
    input; `watch` makes another observer for each layer. Raises ValueError naming the layer when its inputs hold NaN.
    """
    static = {name: (watch or (lambda: Range(momentum)))() for name, layer in made.items() if is_static(layer)}
    if static:
        with observed(clip.model, {f"{name}.input": observer for name, observer in static.items()}):
            feed(clip, static, proxy, batch=batch, pairs=pairs)
    for name, layer in made.items():
        grid = layer.activation_grid
        if grid.dynamic and not grid.floating:
            layer.input = DynamicInput(grid)
        elif name in static:
            set_static(layer, static[name].bounds(grid), name)


def is_static(layer: Twin, /) -> bool:
    """Whether a layer's inputs take a range from calibration."""
    return not (layer.activation_grid.floating or layer.activation_grid.dynamic)


def set_static(layer: Twin, bounds: tuple[torch.Tensor, torch.Tensor] | None, name: str, /) -> None:
    """Let a layer round its inputs on a grid that covers the bounds; raise ValueError with its name if there are none."""
    if bounds is None:
        raise ValueError(f"calibration: {name} saw no input; is it part of the model's forward?")
    scale, zero = affine(*bounds, layer.activation_grid)
    layer.input = StaticInput(layer.activation_grid, scale.item(), int(zero.item()))
