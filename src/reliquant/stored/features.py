"""Stored embeddings as features that every measure and OOD score takes: checked, or refused by name.

Everything is brought to one type when it is read: half precision becomes float32 before anything is computed, labels
become int64. So the same numbers give the same figures whatever type they were stored in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reliquant.evaluation.features import Features
from reliquant.files.stored_frames import errors_named
from reliquant.images.reading import class_names
from reliquant.measures.accuracy import class_numbers, labels_within
from reliquant.measures.resampling import PHOTOGRAPH
from reliquant.stored.column import Column
from reliquant.stored.read import Table
from reliquant.stored.unit_rows import UnitRows

HELD = 2**28  # bytes of embeddings, or of logits, that are held in memory
LOOKED_AT = 1_000  # images whose logits are looked at
UNITY = 0.01  # by which probabilities in half precision may miss 1 together
LOG_OF_A_SCALE = 5.0  # a multiplier below it is likelier the parameter, a logarithm: CLIP's ends at 100, its log at 4.6


def labels_of(table: Table, images: int, /, *, classes: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Return the class number of each of so many images, (n,); raise ValueError naming the file and what is wrong.

    Names of classes are numbered by their place in `classes`, in the table's own column of that name, or in the list
    that `classes.json` beside the file holds.
    """
    with errors_named(table.path):
        label = numbers_of(table, "label", classes=classes)
    if not images:
        raise ValueError(f"{table.path}: holds no images")
    if len(label) != images:
        raise ValueError(f"{table.path}: {len(label)} labels for {images} images")
    missing = np.flatnonzero(label < 0)
    if len(missing):
        told = f"image {missing[0]} has the label {label[missing[0]]}; every image needs its class"
        raise ValueError(f"{table.path}: {told}")
    return label


def numbers_of(table: Table, name: str, /, *, classes: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Return the class numbers in the column `name`, label or prediction, (n,); raise ValueError for what are none."""
    column = table.arrays[name]
    if column.dtype != object:
        return class_numbers(column.exact(slice(None)))
    known = list(classes) if classes is not None else _classes(table)
    if known is None:
        told = "store whole numbers, or the names of all classes in their order as `classes` or in classes.json"
        raise ValueError(f"{name} holds names, and which number each class has is not known: {told}")
    number = {word: i for i, word in enumerate(known)}
    words = column[:].reshape(-1)
    for row, word in enumerate(words):
        if word not in number:
            raise ValueError(f"{name} {word!r} of image {row} is none of the {len(known)} classes")
    return np.array([number[word] for word in words], np.int64)


def _classes(table: Table) -> list[str] | None:
    """Return the names of the classes in their order: the table's own column, or `classes.json` beside the file."""
    if "classes" in table.arrays and table.arrays["classes"].dtype == object:
        return [str(word) for word in table.arrays["classes"][:].reshape(-1)]
    return class_names(table.path if table.path.is_dir() else table.path.parent, None)


def features_of(
    table: Table,
    head: Table | None = None,
    /,
    *,
    labelled: bool | None = None,
    classes: Sequence[str] | None = None,
    held: int = HELD,
) -> Features:
    """Put stored image features (n, d) beside the text features (c, d) and the logit scale of `head`.

    Without a head the table has its own. Images beside another table's head are out of its classes: they have the label
    -1 unless they are `labelled`. Rows are brought to unit length; keys of photographs (n,) are taken where they are
    stored. Images are in memory where they and their logits take at most `held` bytes each, else they are read when
    they are asked for. Raises ValueError naming the file where a column is missing, has no two axes, holds NaN,
    infinite values or rows of zeros, or does not fit the others.
    """
    labelled = head is None if labelled is None else labelled
    head = head or table
    table.require("image", *(["label"] if labelled else []))
    head.require("text", "logit_scale")
    path, image = table.path, table.arrays["image"]
    label = labels_of(table, len(image), classes=classes) if labelled else np.full(len(image), -1)
    rows, text = UnitRows(path, "image", image), UnitRows(head.path, "text", head.arrays["text"])[:]
    scale = _number(head.path, "logit_scale", head.arrays["logit_scale"])
    if scale <= 0:
        raise ValueError(
            f"{head.path}: logit_scale must be above 0: the multiplier, exp of the parameter; got {scale:g}"
        )
    bias = _number(head.path, "logit_bias", head.arrays["logit_bias"]) if "logit_bias" in head.arrays else 0.0
    with errors_named(path):
        labels_within(label, len(text))
        features = Features(rows, text, label, scale, bias, photographs=photographs_of(table))
    return features.held() if 4 * len(rows) * max(rows.shape[1], len(text)) <= held else features


def photographs_of(table: Table, /) -> NDArray[np.uint64] | None:
    """Return the keys of photographs (n,) that are stored with images, or None; raise ValueError for other numbers."""
    if PHOTOGRAPH not in table.arrays:
        return None
    keys = table.arrays[PHOTOGRAPH].exact(slice(None))
    if keys.dtype.kind not in "iu":
        raise ValueError(f"photograph must hold whole numbers, not {keys.dtype}")
    return keys.astype(np.uint64)  # equal numbers stay equal


def doubts_of(path: Path, features: Features, /) -> list[str]:
    """Say what is likely not meant in what was read, one sentence each."""
    scale = features.logit_scale
    if scale >= LOG_OF_A_SCALE:
        return []
    other = f", or, if it is a temperature, its reciprocal, {1 / scale:.4g}" if scale < 1 else ""
    return [
        f"{path}: logit_scale {scale:g} is taken as the multiplier of the cosines. If it is the model's parameter, a"
        f" logarithm, store its exponential, {np.exp(scale):.4g}{other}: probabilities, NLL and"
        " calibration follow from it"
    ]


def probabilities_doubted(table: Table, /) -> list[str]:
    """Say so where the logits of a table look like probabilities: each in [0, 1], and 1 together."""
    logits = table.arrays["logits"]
    first = logits[: min(LOOKED_AT, len(logits))]
    if first.ndim != 2 or first.shape[1] < 2 or not ((first >= 0) & (first <= 1)).all():
        return []
    if (np.abs(first.sum(axis=1) - 1) > UNITY).any():
        return []
    return [
        f"{table.path}: logits are from 0 to 1 and sum to 1 in each row, as probabilities do; they are taken as logits,"
        " and softmax is applied to them: if they are probabilities, call the column so (--names probabilities=logits)"
    ]


def _number(path: Path, name: str, column: Column) -> float:
    if column.dtype == object or np.prod(column.shape) != 1:
        raise ValueError(f"{path}: {name} must hold one number, not shape {column.shape}")
    value = float(column.exact(slice(None)).reshape(-1)[0])
    if not np.isfinite(value):
        raise ValueError(f"{path}: {name} is {value}")
    return value
