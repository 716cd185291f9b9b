"""Round what attention multiplies, where a scheme says so: find it, prove it to be reached, calibrate its ranges.

Ranges come from the proxy when the method has done its work, so that what it rotates, smooths and rounds is in; of a
method that trains, before the training, whose gradients then pass through the rounding. They are moving averages of
extremes, as those of `rtn` are, whatever a method does for the inputs of layers. Probabilities have an unsigned grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from reliquant.grid import Grid
from reliquant.layers.arithmetic import SMALLEST_SCALE, affine, fitted
from reliquant.layers.coverage import attention_products
from reliquant.layers.products import (
    FACTORS,
    LEAF,
    AttentionProducts,
    LogSqrt2,
    Multiplied,
    attach,
    axis_of,
    pieces,
    watched_products,
)
from reliquant.layers.twins import DynamicInput, StaticInput
from reliquant.models.clip import Clip
from reliquant.models.parts import Scope
from reliquant.progress import say
from reliquant.quantization.calibrate import feed
from reliquant.quantization.observers import Range, observed
from reliquant.quantization.proxy import Proxy
from reliquant.study.layer_words import Attention

Factors = dict[str, list[str]]  # by the name of the attention


class Unfixed(nn.Identity):
    """Stand for a factor's rounding until calibration says what it is."""

    def __init__(self, grid: Grid, log_sqrt2: bool, /) -> None:
        super().__init__()
        self.grid, self.log_sqrt2 = grid, log_sqrt2


def attentions(clip: Clip, scope: Scope, words: Attention, run: Callable[[], Any], /) -> Factors:
    """Return the factors to round of each attention that `run()`, a forward of both towers, meets in scope.

    Raises ValueError where no tower in scope is named, where an attention is no module of its own, and where it is
    shared by towers of which other factors are named.
    """
    towers = [tower for tower in words.towers if scope == "both" or tower == "image"]
    if not towers:
        raise ValueError(f"layers: attention: names the text tower alone, which scope {scope} does not quantize")
    found: Factors = {}
    for name in attention_products(clip, scope, run):
        own = [list(words.towers.get(tower, [])) for tower in ("image", "text") if clip.parts.in_tower(name, tower)]
        if not own:
            raise ValueError(
                f"layers: attention: {_named(clip.model, name)} multiplies as attention outside the towers"
            )
        if scope == "both" and own.count(own[0]) < len(own):
            raise ValueError(f"layers: attention: {name} is in both towers, for which other factors are named")
        if own[0]:
            found[name] = own[0]
    for tower in towers:
        if not any(clip.parts.in_tower(name, tower) for name in found):
            say("attention", f"the {tower} tower runs none: nothing of it is rounded")
    return found


def put_pieces(
    clip: Clip, scope: Scope, factors: Factors, grids: Mapping[str, Grid], words: Attention, run: Callable[[], Any], /
) -> None:
    """Put pieces, which round nothing yet, beside attention; prove that they see every product of it in `run()`.

    Factors and grids are given by the name of the attention. `run` is a forward of both towers that finds embeddings
    unchanged. Raises ValueError naming an attention of which a piece sees not all, and one whose sums the blocks of a
    format do not divide.
    """
    for name, roles in factors.items():
        unfixed = {role: _unfixed(role, grids[name], words.probabilities == "log_sqrt2") for role in roles}
        attach(clip.model, name, AttentionProducts(unfixed))
    there = pieces(clip.model)
    try:
        _set_active(there, True)
        with watched_products(clip.model) as told:
            ran = attention_products(clip, scope, run)
    except ValueError as error:
        raise ValueError(f"layers: attention: {error}") from error
    finally:
        _set_active(there, False)
    for name, piece in there.items():
        if problem := _unreached(ran.get(name, 0), told[name]) or _undivided(piece, told[name]):
            raise ValueError(f"layers: attention: {_named(clip.model, name)}: {problem}")


def calibrate_attention(
    clip: Clip, proxy: Proxy, /, *, momentum: float = 0.1, batch: int = 64, pairs: int | None = None
) -> None:
    """Let pieces that round nothing yet round from now on, over ranges of the first `pairs` pairs (None: all).

    Raises ValueError with the name of a factor that holds NaN, or that no forward made.
    """
    there = {name: piece for name, piece in pieces(clip.model).items() if not piece.active}
    if not there:
        return
    observers = {f"{name}.{LEAF}.{role}": Range(momentum) for name, piece in there.items() for role in piece.roles}
    _set_active(there, True)
    with observed(clip.model, observers):
        feed(clip, there, proxy, batch=batch, pairs=pairs)
    for factor, seen in observers.items():
        name, _, role = factor.rpartition(".")
        if seen.absmax is None:
            raise ValueError(f"calibration: {factor} saw nothing; is it part of the model's forward?")
        piece = clip.model.get_submodule(name)
        piece.add_module(role, _fixed(role, piece.rounding(role), seen))


def _set_active(there: Mapping[str, AttentionProducts], active: bool) -> None:
    for piece in there.values():
        piece.active = active


def _unfixed(role: str, grid: Grid, log_sqrt2: bool) -> Unfixed:
    """Stand for the rounding of a factor on the grid of inputs; probabilities, from 0 to 1, need no negative codes."""
    if role == "probabilities" and log_sqrt2:
        return Unfixed(LogSqrt2(grid.bits, 1.0).grid, True)
    if role == "probabilities" and not (grid.is_float or grid.whole_groups):
        grid = replace(grid, symmetric=False, signed=False)
    return Unfixed(grid, False)


def _fixed(role: str, unfixed: Unfixed, seen: Range) -> nn.Module:
    grid = unfixed.grid
    if unfixed.log_sqrt2:
        return LogSqrt2(grid.bits, seen.high.clamp(min=SMALLEST_SCALE).item())
    if grid.dynamic:
        grid = fitted(seen.absmax.item(), grid)
        return DynamicInput(grid, axis_of(role, grid))
    scale, zero = affine(*seen.bounds(grid), grid)
    return StaticInput(grid, scale.item(), int(zero.item()))


def _unreached(ran: int, told: list[Multiplied]) -> str:
    """Say that an attention runs other products than those of queries and keys, of probabilities and values."""
    seen = sum(product.macs for product in told)
    first, second = (sum(product.what == what for product in told) for what in FACTORS)
    if ran == seen and first == second:
        return ""
    return (
        f"its products cannot all be rounded: {seen} of {ran} multiply-accumulates are seen, in {first} products "
        f"before and {second} after a softmax; name it in layers: keep, or leave its tower out of attention"
    )


def _undivided(piece: AttentionProducts, told: list[Multiplied]) -> str:
    """Say that the blocks of a format do not divide what a product sums over."""
    for product in told:
        for role in FACTORS[product.what]:
            rounding = piece.rounding(role)
            if rounding is not None and rounding.grid.whole_groups and product.summed % rounding.grid.group:
                told_of = (
                    f"blocks of {rounding.grid.group} do not divide the {product.summed} numbers that {product.what}"
                )
                return f"{told_of} sums over; leave {role} out, or give attention another precision"
    return ""


def _named(model: nn.Module, name: str) -> str:
    kind = type(model.get_submodule(name))
    return f"{name or 'the model itself'} ({kind.__module__}.{kind.__qualname__})"
