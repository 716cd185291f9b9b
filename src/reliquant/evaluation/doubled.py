"""A variant with its products in float64, on some images of a prepared set: what the rounding of products alone does.

Inputs of twins are rounded on their grids as ever, from what float64 products give; features are float32 again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import torch

from reliquant.evaluation.features import Features
from reliquant.evaluation.records import class_columns, samples_of
from reliquant.evaluation.zero_shot import image_features, logit_scale_and_bias, text_head
from reliquant.images.dataset import require_labels, subset
from reliquant.images.prepare import load
from reliquant.models.clip import Clip
from reliquant.models.preprocess import require_form


def in_float64(
    clip: Clip, folder: Path, dataset: str, /, *, images: int, batch: int = 256, device: str = "cpu"
) -> pl.DataFrame:
    """Return records of so many images (at most) of a clean set, as `evaluate` has them, by the model in float64.

    The model is changed in place. Raises ValueError where an image has no class or the form does not fit the model.
    """
    require_form(clip, folder.name, str(folder))
    prepared = load(folder)
    meta = prepared.meta
    require_labels(meta["classes"], prepared.labels, meta.get("label_problem"), dataset)
    index = subset(len(prepared.labels), images)
    clip.model.to(device, torch.float64)
    words = {"batch": batch, "device": device, "label": f"{dataset} in float64"}
    image = image_features(clip, prepared.images[index], dtype="float64", **words)
    text = text_head(clip, meta["classes"], meta["templates"], device=device)
    keys = prepared.photographs[index]
    features = Features(image, text, prepared.labels[index], *logit_scale_and_bias(clip), photographs=keys)
    groups = meta.get("groups")
    group = [groups[i] for i in index] if groups else [""] * len(index)
    return samples_of(features, {}).with_columns(
        class_columns(features),
        suite=pl.lit("clean"),
        dataset=pl.lit(dataset),
        reference=pl.lit(dataset),
        corruption=pl.lit(""),
        severity=pl.lit(0, pl.Int8),
        index=pl.Series(index.astype(np.int32)),
        group=pl.Series(group, dtype=pl.String),
    )
