"""One layer at a time: what the weight that a method makes of a layer does where all other layers stay as they are."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from torch import nn

from reliquant.layers.surgery import twins
from reliquant.layers.twins import Twin
from reliquant.models.clip import Clip
from reliquant.quantization.rounding import Decided

Tower = Literal["image", "text"]
Words = tuple[dict[str, Any], dict[str, Any]]  # of a precision: what it says of the grids of weights and of inputs


@contextmanager
def swapped(pairs: Mapping[Twin, Twin], /) -> Iterator[None]:
    """Give twins the weights of other twins while the block runs, in place; those of codes alone are worked out."""
    own = {layer: layer.weight for layer in pairs}
    try:
        for layer, other in pairs.items():
            rule = other.weight_rule
            layer.weight = other.weight if rule is None else nn.Parameter(rule(other.weight), requires_grad=False)
        yield
    finally:
        for layer, weight in own.items():
            layer.weight = weight


def copied(clip: Clip, own_words: Mapping[str, Words], /) -> Clip:
    """Copy a model whose twins nothing rounds yet; the named ones get a precision of their own.

    The copy shares the memory of all parameters: what is to round it must put other parameters in their places, as
    `Twin.freeze` does, and change none. A frozen layer of the copy holds its codes alone, which take a quarter of the
    memory, and works its weight out in each forward. What watches a method before its first code
    (`Twin.before_rounding`) does not watch the copy.
    """
    shared: dict[int, Any] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in clip.model.parameters()}
    layers = twins(clip.model)
    watching = {layer: layer.before_rounding for layer in layers.values()}
    for layer in watching:
        layer.before_rounding = None
    try:
        model = copy.deepcopy(clip.model, shared)
    finally:
        for layer, call in watching.items():
            layer.before_rounding = call
    for layer in twins(model).values():
        layer.after_freezing = _codes_alone(layer.weight)
    for name, words in own_words.items():
        made = model.get_submodule(name)
        if not isinstance(made, Twin):
            raise TypeError(f"{name} is no twin")
        made.own_words = words
    return clip.with_model(model)


def _codes_alone(shared: nn.Parameter) -> Callable[[Twin], None]:
    """Return what gives a frozen twin back the weight that it shares, and a rule that puts its codes in its place."""

    def hold(layer: Twin) -> None:
        if layer.held is None:  # else codes are not all that its weight is made of
            layer.weight_rule = Decided(layer.codes, layer.weight_scale, layer.weight_zero, layer.weight_grid)
            layer.weight = shared

    return hold


def tower_of(clip: Clip, name: str, /) -> Tower:
    """Return the tower that a layer is in: `image` or `text`."""
    return "text" if clip.parts.in_tower(name, "text") else "image"
