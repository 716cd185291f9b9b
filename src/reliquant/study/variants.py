"""Variants: the points of a study's grid, each a model quantized in one way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from reliquant.study.config import Config, Deploy, Entry, Explain, Retrieval, Sensitivity

AXES = ("precisions", "scopes", "proxies", "seeds")
Part = Explain | Sensitivity | Retrieval | Deploy  # of a study's grid: words of axes, or None for all
NAMED = {"schemes": "scheme", "precisions": "precision", "scopes": "scope", "seeds": "seed"}  # by a part of the grid


@dataclass(frozen=True)
class Variant:
    """One point of the grid: a model quantized by a scheme at a precision, in a scope, with a proxy and a seed."""

    model: str
    scheme: str
    precision: str
    scope: str
    proxy: str
    seed: int

    def __str__(self) -> str:
        return f"{self.model}/{self.scheme}/{self.precision}-{self.scope}-{self.proxy}-{self.seed}"

    @property
    def baseline(self) -> Variant:
        """The FP32 variant of the same model."""
        return fp32_of(self.model)


def fp32_of(model: str, /) -> Variant:
    """Return the FP32 variant of a model."""
    return Variant(model, "fp32", "fp32", "none", "none", 0)


def variants_of(config: Config, /) -> list[Variant]:
    """List every variant of a study: FP32 of each model, then each scheme's product of models and axes."""
    variants = [fp32_of(model) for model in config.models]
    for scheme, entry in config.schemes.items():
        axes = [words_of_axis(config, entry, axis) for axis in AXES]
        for model, precision, scope, proxy, seed in product(config.models, *axes):
            variants.append(Variant(model, scheme, precision, scope, proxy, seed))
    return variants


def words_of_axis(config: Config, entry: Entry, axis: str, /) -> list[Any]:
    """Return the words that an axis of the grid has for a scheme: its own, else the study's."""
    return entry.get(axis, list(getattr(config, axis)))


def is_named(variant: Variant, part: Part, /) -> bool:
    """Whether a part of the grid, which names words of axes or leaves them out for all, holds a variant."""
    return all(
        getattr(part, words) is None or getattr(variant, axis) in getattr(part, words) for words, axis in NAMED.items()
    )


def part_problems(config: Config, key: str, part: Part, /) -> Iterator[str]:
    """Say which words of a part of the grid, which stands under a key of the config, are not in the grid."""
    for axis in NAMED:
        there = _words_of_all(config, axis)
        for word in getattr(part, axis) or []:
            if word not in there:
                yield f"{key}: {axis}: {word!r} is not in the grid; there are {', '.join(map(str, there))}"


def _words_of_all(config: Config, axis: str) -> list[Any]:
    """List the words that an axis of the grid has, over all schemes."""
    if axis == "schemes":
        return list(config.schemes)
    words: dict[Any, None] = {}
    for entry in config.schemes.values():
        words |= dict.fromkeys(words_of_axis(config, entry, axis))
    return list(words)
