"""Binned confidences of `explain` rows: what reliability and trajectory diagrams draw; torch-free."""

from __future__ import annotations

import polars as pl

from reliquant.report import frames
from reliquant.report.frames import Rows

KEYS = ["source", "precision", "scale", "bin"]


def binned(rows: Rows, kind: str, /) -> pl.DataFrame:
    """Return mean confidence, accuracy and n by source, precision, scale and bin, weighted by images.

    `kind` is `reliability` (bins of one's own confidence) or `trajectory` (bins of FP32's confidence).
    """
    measures = [f"{kind}_confidence", f"{kind}_accuracy"]
    parts = [frames.select(rows, measures, suite="explain", scale=s) for s in ("native", "tuned")]
    found = pl.concat(parts).with_columns(bin=pl.col("group").str.extract(r"(\d+)$").cast(pl.Int64))
    mean = (pl.col("value") * pl.col("n")).sum() / pl.col("n").sum()
    means = found.group_by([*KEYS, "measure"]).agg(mean, n=pl.col("n").sum())
    first, second = (means.filter(measure=m).rename({"value": m.rpartition("_")[2]}).drop("measure") for m in measures)
    return first.join(second.drop("n"), on=KEYS, how="inner").sort(KEYS)
