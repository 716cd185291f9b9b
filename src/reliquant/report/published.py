"""FP32 accuracies that others published, beside those measured here: a difference says that the setup is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import polars as pl

from reliquant.report import frames
from reliquant.report.frames import Rows

REST = ("here", "difference", "wrong", "source")
OF_200 = ("imagenet_a", "imagenet_r")  # published for a choice among their own 200 classes (`own`)
TOLERANCE = 0.005  # beyond it prompts, preprocessing or checkpoint differ from the publisher's


@cache
def reference_numbers() -> pl.DataFrame:
    """Return published zero-shot accuracies: architecture, pretrained, dataset (its plugin here), accuracy, source."""
    return pl.read_csv(files("reliquant").joinpath("report", "reference_numbers.csv").read_bytes())


def compared(rows: Rows, facts: Mapping[str, Any], /) -> pl.DataFrame:
    """Return one line for each FP32 accuracy that has a published value: published, here, difference, wrong, source.

    `facts` are a study's (`steps/facts.py`): which checkpoint a model is, and which plugin reads a dataset and how many
    of its images. A part of a set is not compared.
    """
    models = [
        {"model": name, "architecture": m.get("architecture"), "pretrained": m.get("pretrained")}
        for name, m in facts["models"].items()
    ]
    entries = {name: dataset["entry"] for name, dataset in facts["datasets"].items()}
    sets = [{"name": name, "dataset": e.get("dataset")} for name, e in entries.items() if _as_published(e)]
    text = pl.String
    accuracies = pl.concat([frames.select(rows, "accuracy", suite=suite) for suite in ("clean", "shift")])
    fp32 = accuracies.filter(scheme="fp32")
    measured = fp32.select("model", pl.col("dataset").alias("name"), here="value", n="n").unique()
    known = pl.DataFrame(models, {"model": text, "architecture": text, "pretrained": text})
    return (
        measured.join(known, on="model")
        .join(pl.DataFrame(sets, {"name": text, "dataset": text}), on="name")
        .join(reference_numbers(), on=["architecture", "pretrained", "dataset"])
        .with_columns(difference=pl.col("here") - pl.col("accuracy"))
        .with_columns(wrong=pl.col("difference").abs() > TOLERANCE)
        .select("model", pl.col("name").alias("dataset"), "n", pl.col("accuracy").alias("published"), *REST)
        .sort("model", "dataset")
    )


def _as_published(entry: Mapping[str, Any]) -> bool:
    """Say whether a dataset's entry asks for the whole test set, among the classes of the published numbers."""
    whole = entry.get("images") is None and entry.get("split") in (None, "test", "val")
    return whole and (entry.get("dataset") not in OF_200 or bool(entry.get("own")))
