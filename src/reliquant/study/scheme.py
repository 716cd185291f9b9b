"""Read one scheme that a person names, without a study around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reliquant import plugins
from reliquant.files.artifacts import UNKNOWN
from reliquant.files.bounded import load_yaml
from reliquant.study.config import (
    OF_VARIANTS,
    correction_problems,
    format_problems,
    grid_problems,
    own_words,
    quantizer_words,
    with_grids,
)
from reliquant.study.entries import key_problems, layers_problems
from reliquant.study.layer_words import attention_problems
from reliquant.study.mixed import mixed_problems


def scheme_entry(scheme: str | Mapping[str, Any], precision: str, /) -> dict[str, Any]:
    """Add the grids of a precision to `rtn` or `{quantizer: lsq, lr: 1e-5}`, in YAML or as a mapping.

    Of the words that a study reads, `least_share`, `bias_correction`, `compensation` and `layers` may be among them.
    Raises ConfigError with all that is wrong with it.
    """
    words: Mapping[str, Any]
    if isinstance(scheme, str):
        words = load_yaml(scheme) if scheme.lstrip().startswith("{") else {"quantizer": scheme}
    else:
        words = scheme
    kept = {word: value for word, value in words.items() if word in OF_VARIANTS}
    problems = [*grid_problems(words), *key_problems("schemes", kept), *correction_problems(words)]
    entry = {} if problems else with_grids(quantizer_words(words), precision)
    problems = problems or plugins.check("quantizer", entry) or list(format_problems(words, precision))
    problems = problems or list(mixed_problems(words, precision)) or list(layers_problems(words))
    problems = problems or list(attention_problems(words, precision))
    if problems:
        raise plugins.ConfigError(f"scheme: {problem}" for problem in problems)
    return {**entry, **kept}


def variant_words(scheme: Mapping[str, Any], /) -> dict[str, Any]:
    """Return what a study's scheme makes its variants with: the quantizer's words and those of `OF_VARIANTS`."""
    return own_words("schemes", scheme) | {word: scheme[word] for word in OF_VARIANTS if word in scheme}


def precision_of(entry: Mapping[str, Any], /) -> str:
    """Return the precision of a variant's entry, unknown where its grids are not of so many bits of integers.

    >>> precision_of({"quantizer": "rtn", "weight": {"bits": 4}, "activation": {"bits": 8}})
    'w4a8'
    """
    grids = [entry.get(part) or {} for part in ("weight", "activation")]
    if all(isinstance(grid.get("bits"), int) and grid.get("element", "int") == "int" for grid in grids):
        return f"w{grids[0]['bits']}a{grids[1]['bits']}"
    return UNKNOWN
