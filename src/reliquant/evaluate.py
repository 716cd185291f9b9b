"""Records of every image of a list of cells: what a variant predicts, how confidently, and its OOD scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.clip import Clip
from reliquant.features import Features
from reliquant.images import subset
from reliquant.measure import samples_of
from reliquant.prepare import Prepared, load
from reliquant.tuning import TUNED
from reliquant.zero_shot import Dtype, image_features, logit_scale_and_bias, text_head

Scores = Mapping[str, Callable[..., NDArray[np.float64]]]


def evaluate(
    clip: Clip,
    cells: Sequence[Mapping[str, Any]],
    scores: Scores,
    /,
    *,
    batch: int,
    device: str,
    dtype: Dtype,
    tuned: float | None = None,
) -> pl.DataFrame:
    """Return the records of all cells (see `Study.cells`); OOD scores where they are asked: clean and ood cells.

    With a `tuned` logit scale also what confidence, nll and brier would be with it: `<name>_tuned`.
    Raises ValueError naming the dataset when its images do not fit the model or its features are not finite.
    """
    heads: dict[str, NDArray[np.float32]] = {}
    embedded: dict[str, NDArray[np.float32]] = {}  # one forward a dataset, whatever the number of its cells
    parts = []
    for cell in cells:
        prepared, reference = _fitting(cell["folder"], clip), load(Path(cell["head"]))
        if cell["head"] not in heads:
            heads[cell["head"]] = text_head(clip, reference.meta["classes"], reference.meta["templates"], device=device)
        chosen = subset(len(prepared.labels), cell["images"])
        labels = np.full(len(chosen), -1) if cell["suite"] == "ood" else prepared.labels[chosen]
        groups = prepared.meta.get("groups")
        group = [groups[i] for i in chosen] if groups and not cell["group"] else [cell["group"]] * len(chosen)
        for i, severity in enumerate(cell["severities"]):
            if cell["corruption"]:
                images = np.load(Path(cell["folder"], "corrupt", f"{cell['corruption']}.npy"), mmap_mode="r")[i]
                image = _features(clip, images, cell, batch, device, dtype)
            else:
                if cell["folder"] not in embedded:
                    embedded[cell["folder"]] = _features(clip, prepared.images, cell, batch, device, dtype)
                image = embedded[cell["folder"]][chosen]
            features = Features(image, heads[cell["head"]], labels, *logit_scale_and_bias(clip))
            asked = scores if cell["suite"] in ("clean", "ood") else {}
            where = {k: pl.lit(cell[k]) for k in ("suite", "dataset", "reference", "corruption")}
            where |= {"severity": pl.lit(severity, pl.Int8), "index": pl.Series(chosen.astype(np.int32))}
            found = samples_of(features, asked)
            if tuned:
                found = found.with_columns(at_scale(features, tuned))
            parts.append(found.with_columns(**where, group=pl.Series(group, dtype=pl.String)))
    return pl.concat(parts, how="diagonal")


def at_scale(features: Features, logit_scale: float, /) -> list[pl.Series]:
    """Return confidence, nll and brier of each image under another logit scale, as `<name>_tuned`."""
    found = samples_of(replace(features, logit_scale=logit_scale), {})
    return [found[name].alias(f"{name}_tuned") for name in TUNED]


def _fitting(folder: str, clip: Clip) -> Prepared:
    form = Path(folder).name
    if form not in ("native", clip.form):
        raise ValueError(f"{folder}: prepared as {form}, but the model wants `form: {clip.form}` in its entry")
    return load(Path(folder))


def _features(
    clip: Clip, images: NDArray[np.uint8], cell: Any, batch: int, device: str, dtype: Dtype
) -> NDArray[np.float32]:
    found = image_features(clip, images, batch=batch, device=device, dtype=dtype, label=cell["dataset"])
    if bad := int((~np.isfinite(found).all(axis=1)).sum()):
        raise ValueError(f"{cell['dataset']}: {bad} images have NaN or infinite features")
    return found
