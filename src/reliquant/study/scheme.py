"""Read one scheme that a person names, without a study around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from reliquant import plugins
from reliquant.study.config import grid_problems, with_grids


def scheme_entry(scheme: str | Mapping[str, Any], precision: str, /) -> dict[str, Any]:
    """Add the grids of a precision to `rtn` or `{quantizer: lsq, lr: 1e-5}`, in YAML or as a mapping.

    Raises ConfigError with all that is wrong with it.
    """
    words: Mapping[str, Any]
    if isinstance(scheme, str):
        words = yaml.safe_load(scheme) if scheme.lstrip().startswith("{") else {"quantizer": scheme}
    else:
        words = scheme
    problems = list(grid_problems(words))
    entry = {} if problems else with_grids(words, precision)
    if problems := problems or plugins.check("quantizer", entry):
        raise plugins.ConfigError(f"scheme: {problem}" for problem in problems)
    return entry
