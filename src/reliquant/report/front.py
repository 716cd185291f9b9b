"""Which models lie on the Pareto front of size and a measure, and how surely; free of torch."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.report import posterior
from reliquant.report.averages import table_of
from reliquant.report.frames import VARIANT


def front(points: pl.DataFrame, /, *, highest: bool) -> pl.DataFrame:
    """Return the points that no other of the same or a smaller size beats, smallest first."""
    sign = 1 if highest else -1
    ranked = points.with_columns(good=sign * pl.col("value")).sort("size", "good", descending=[False, True])
    return ranked.filter(pl.col("good") > pl.col("good").cum_max().shift(1).fill_null(float("-inf")))


def confidence(
    points: pl.DataFrame, changes: pl.DataFrame, /, *, highest: bool, draws: int = 1000, seed: int = 0
) -> pl.Series:
    """Return the chance of each point that no other of the same or a smaller size beats it, (points,).

    `points` are FP32 models and variants: the columns of a variant, size, value, low, high and replicates. `changes`
    are the variants' changes from FP32, as of `frames.mean_of_sets`. The chance is the share of so many draws from the
    posterior of FP32's values and of all changes, by the same rules as `recommend`. It is null where a point has no
    interval (it may still beat others), and everywhere if none has one or a variant's FP32 model is missing.
    """
    quantized = (points["scheme"] != "fp32").to_numpy()
    models = {model: i for i, model in enumerate(points["model"]) if not quantized[i]}
    columns = [*VARIANT, "low", "high", "replicates", pl.col("value").alias("of")]
    errors = pl.concat([points.filter(~pl.Series(quantized)).select(columns), changes.select(columns)])
    both = points.select(VARIANT).join(errors, on=list(VARIANT), how="left", maintain_order="left")
    known = (both["low"] < both["high"]).fill_null(False).to_numpy()
    if not known.any() or not set(points["model"]) <= set(models):
        return pl.Series([None] * points.height, dtype=pl.Float64)
    base, value = np.array([models[model] for model in points["model"]]), points["value"].to_numpy()
    group = posterior.groups(points["precision"].to_numpy()[quantized])
    whole = np.full(points.height, -1)  # FP32 models are a group of their own
    whole[quantized] = group
    low, high = (both[end].cast(pl.Float64).to_numpy() for end in ("low", "high"))
    estimates = posterior.Estimates(
        np.where(quantized, value - value[base], value), *posterior.errors(low, high, table_of(both)), whole, quantized
    )
    size, sign, count = points["size"].to_numpy(), 1 if highest else -1, np.zeros(points.height, np.int64)
    for drawn in posterior.rounds(estimates, np.random.default_rng(seed), number=draws):
        true = drawn + np.where(quantized, drawn[:, base], 0.0)
        count += unbeaten(size, sign * true).sum(axis=0)
    return pl.Series(np.where(known, count / draws, np.nan), nan_to_null=True)


def unbeaten(size: NDArray[np.floating], good: NDArray[np.floating], /) -> NDArray[np.bool_]:
    """Return where nothing of the same or a smaller size, (n,), is better, (..., n); more is better.

    >>> unbeaten(np.array([1.0, 1.0, 2.0, 3.0]), np.array([[5.0, 6.0, 4.0, 7.0]]))
    array([[False,  True, False,  True]])
    """
    order = np.argsort(size, kind="stable")
    last = np.searchsorted(size[order], size, side="right") - 1  # of those that are not larger
    best = np.maximum.accumulate(good[..., order], axis=-1)[..., last]
    return np.asarray(good >= best)
