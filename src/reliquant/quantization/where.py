"""Where a scheme quantizes: layers that stay in floating point or get another precision, and layers outside the blocks.

`layers: {keep: [first, "*.c_proj"], other: {last: w8a8}, also: ["visual.conv1"]}` of a scheme. A pattern is a
module's name with `*` and `?`, and all else as it stands; `first` and `last` are the first and the last block of each
tower in scope. Of the patterns of `other` that fit a layer the last one counts: `{"*": w8a8, last: w2a8}` gives the
last block w2a8, the other way round w8a8. What `keep` names has no other precision. Where a scheme rounds the products
of attention, too, that is among what is kept or has another precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from reliquant.layers.surgery import nothing_found, targets, twins
from reliquant.models.clip import Clip
from reliquant.models.parts import Scope
from reliquant.progress import say

ENDS = {"first": 0, "last": -1}


@dataclass(frozen=True)
class Chosen:
    """The layers that a scheme quantizes, by name; the precisions of those that have their own; those it keeps.

    Then the attention whose products it rounds. Precisions and what is kept are those of attention, too.
    """

    names: list[str]
    other: dict[str, str]
    kept: frozenset[str]
    attention: list[str] = field(default_factory=list)


def chosen(clip: Clip, scope: Scope, layers: Mapping[str, Any], attention: Iterable[str] = (), /) -> Chosen:
    """Find the layers of a model that a scheme quantizes; `attention` is what it may round the products of, by name.

    Raises ValueError where nothing is left, and with the pattern that fits no layer.
    """
    inside = targets(clip, scope)
    if not inside:
        raise ValueError(nothing_found(clip, scope))
    outside = [name for name in _layers(clip, scope) if not clip.parts.is_in_block(name)]
    names = inside + _fitting(clip, "also", layers.get("also", ()), outside)
    attention = list(attention)
    kept = set(_fitting(clip, "keep", layers.get("keep", ()), names + attention))
    left = [name for name in names if name not in kept]
    if not left:
        raise ValueError("layers: keep leaves nothing to quantize")
    rounded = [name for name in attention if name not in kept]
    other: dict[str, str] = {}
    for pattern, precision in layers.get("other", {}).items():
        for name in _fitting(clip, "other", [pattern], left + rounded):
            other[name] = precision
    return Chosen(left, other, frozenset(kept), rounded)


def _fitting(clip: Clip, word: str, patterns: Iterable[str], names: list[str]) -> list[str]:
    """Return the names that fit one of the patterns, in order; raise ValueError with one that fits none."""
    fitting: dict[str, None] = {}
    for pattern in patterns:
        found = [name for name in names if _fits(clip, name, pattern)]
        if not found:
            some = ", ".join(names[:3]) or "none"
            raise ValueError(f"layers: {word}: {pattern!r} fits none of the {len(names)} layers there, such as {some}")
        fitting |= dict.fromkeys(found)
    return [name for name in names if name in fitting]


def _fits(clip: Clip, name: str, pattern: str) -> bool:
    if pattern not in ENDS:
        return fnmatchcase(name, pattern.replace("[", "[[]"))  # a bracket is a part of a name, and begins no class
    for tower in ("image", "text"):
        blocks = [block for block in clip.parts.blocks if clip.parts.in_tower(block, tower)]
        if blocks and clip.parts.block_of(name) == blocks[ENDS[pattern]]:
            return True
    return False


def _layers(clip: Clip, scope: Scope) -> list[str]:
    """Name the Linear and Conv2d modules of the towers in scope that a forward runs."""
    layers = [name for name, module in clip.model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return [name for name in layers if clip.parts.in_scope(name, scope) and name not in clip.parts.idle]


def require_scales(model: nn.Module, quantizer: str, /) -> None:
    """Raise ValueError naming a layer of whose groups of weights one needs a larger scale than FP16 has.

    Blocks of NVFP4, whose scales are relative to the tensor's, are only told of: a method may move a weight beyond it.
    """
    for name, twin in twins(model).items():
        if not twin.cut_scales:
            continue
        told = f"{name}: {twin.cut_scales} scales of its weight are larger than {twin.weight_grid.scales_as} has"
        if twin.weight_grid.scales_as == "e4m3":
            say(quantizer, f"warning: {told}, and were cut to its largest number")
        else:
            raise ValueError(
                f"{told}; keep the layer in floating point (layers: keep), or say weight: {{scale_type: fp32}}"
            )


def require_own(model: nn.Module, quantizer: str, /) -> None:
    """Raise ValueError naming a layer that a method gave its neighbours' precision in place of its own."""
    for name, twin in twins(model).items():
        for words, grid in zip(twin.own_words or (), (twin.weight_grid, twin.activation_grid), strict=False):
            if (grid.bits, grid.element) != (words["bits"], words.get("element", "int")):
                raise ValueError(f"{name}: {quantizer} gives all layers one precision; leave out layers: other")
