"""Whether the layers of a study's models fit what its schemes say of them: patterns of names, widths of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reliquant.grid import Grid
from reliquant.study.study import Study
from reliquant.study.variants import Variant


def layer_problems(study: Study, /) -> Iterator[str]:
    """Say which pattern of a scheme's `layers` fits no layer of a model, and the blocks of which format divide none.

    A model is opened by its shapes, so that it takes seconds and no weights; only models are that a scheme with such
    words quantizes. What cannot be opened so is found when its first variant is made.
    """
    for model in study.config.models:
        asked = [v for v in study.variants.values() if v.model == model and _asks(study.scheme_entry(v))]
        if asked:
            yield from _of_model(study, model, {(v.scheme, v.precision, v.scope): v for v in asked})


def _asks(entry: dict[str, Any]) -> bool:
    """Whether an entry says something that only a model's layers can answer."""
    grids = [Grid(**entry[name]) for name in ("weight", "activation") if name in entry]
    return bool(entry.get("layers")) or any(grid.whole_groups for grid in grids)


def _of_model(study: Study, model: str, asked: dict[tuple[str, str, str], Variant]) -> Iterator[str]:
    from reliquant.cli.plan_model import WithTwins, plan_model  # here: importing torch and open_clip takes seconds
    from reliquant.models.open import shapes_of

    clip = shapes_of(study.tower_entry(model))
    if clip is None:
        return
    told: set[str] = set()  # once a scheme: what is wrong at one precision mostly is at all
    prepared: dict[str, WithTwins] = {}  # by scope: schemes that say nothing of `layers` have the same layers
    for (scheme, precision, scope), variant in asked.items():
        if scheme in told:
            continue
        entry = study.scheme_entry(variant)
        try:
            if entry.get("layers"):
                plan_model(clip, entry, scope)
                continue
            if scope not in prepared:
                prepared[scope] = WithTwins(clip, entry, scope)
            prepared[scope].take(entry)
        except ValueError as error:
            told.add(scheme)
            yield f"schemes.{scheme}: {precision}, scope {scope}, of models.{model}: {error}"
