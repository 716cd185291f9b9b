"""How much the accuracy depends on the words of the prompt, and whether quantization moves it further; free of torch.

A study's classes are means over the prompts of all templates. Here each template is taken alone: records say in columns
`template:<text>` whether it tells the image right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures.bootstrap import Row, row
from reliquant.measures.pairing import Pair
from reliquant.measures.stats import Z95, normal_test, variance_of_mean

TEMPLATE = "template:"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Hold the variance of the accuracy over templates, without that of the images; each image's influence; its error.

    `square` is unbiased, and so may be below 0; `variance` is its own variance.
    """

    square: float
    influence: Floats
    variance: float

    @property
    def root(self) -> float:
        """The standard deviation over templates, 0 where nothing but the images' noise is left."""
        return float(np.sqrt(max(self.square, 0.0))) if np.isfinite(self.square) else np.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the standard deviation: roots of that of its square, or of 0 where that is below."""
        if not np.isfinite(self.square):
            return np.nan, np.nan
        half = float(Z95 * np.sqrt(self.variance))
        return float(np.sqrt(max(self.square - half, 0.0))), float(np.sqrt(max(self.square, 0.0) + half))


def spread(right: NDArray[np.bool_], /) -> Spread:
    """Return the spread over templates (at least two) of the accuracy, from what is right of each image (n, t).

    With d the answers of an image less its mean over templates, and D the mean of d over images, it is
    (sum_t D_t^2 - sum_t var(d_t) / n) / (t - 1): what is left of the variance over templates when the images' is taken
    off. Its variance has the part of the influences and, where the spread is 0, that of the products of two images, to
    which one answer of one template adds that no image shows.

    >>> spread(np.array([[True, False]] * 50 + [[False, False]] * 50)).root.__round__(3)
    0.352
    """
    n, t = right.shape
    if n < 2 or t < 2:
        return Spread(np.nan, np.zeros(n), np.nan)
    d = right - right.mean(axis=1, keepdims=True)
    mean, covariance = d.mean(axis=0), np.cov(d.T)
    square = float((mean @ mean - np.trace(covariance) / n) / (t - 1))
    influence = 2 / (t - 1) * (d - mean) @ mean
    pairs = 2 * float((covariance**2).sum()) / n**2 / (t - 1) ** 2
    unseen = 2 / (t * n**2) ** 2
    return Spread(square, influence, max(variance_of_mean(influence) - 2 * pairs, 0.0) + pairs + unseen)


def prompt_rows(pair: Pair, /) -> list[Row]:
    """Return what single templates make of the accuracy, and how large its change is beside that.

    `accuracy_worst_template` and `accuracy_best_template` are chosen after the fact, so they have no interval.
    `change_to_template_spread` is the change of the accuracy with all templates over FP32's spread: beyond -1 or 1 the
    quantization moves the accuracy by more than another wording does. Nothing where records hold no templates; values
    are null where there is one alone, and the last where FP32's spread is not above 0.
    """
    names = [name for name in pair.variant.columns if name.startswith(TEMPLATE)]
    names = [name for name in names if all(_complete(side, name) for side in pair.sides)]
    if not names:
        return []
    n, found = len(pair.variant), [spread(_right(side, names)) for side in pair.sides]
    alone = _right(pair.variant, names).mean(axis=0)
    ends = {"accuracy_worst_template": alone.min(), "accuracy_best_template": alone.max()}
    rows = [row(name, value, np.nan, np.nan, np.nan, n) for name, value in ends.items()]
    rows.append(row("template_spread", found[0].root, *found[0].interval, np.nan, n))
    if pair.fp32 is not None:
        rows += [_change(*found), _to_spread(pair.variant, pair.fp32, found[1])]
    return rows


def _complete(records: pl.DataFrame, name: str) -> bool:
    return name in records.columns and not records[name].null_count()


def _right(records: pl.DataFrame, names: list[str]) -> NDArray[np.bool_]:
    return records.select(names).to_numpy().astype(bool)


def _change(quantized: Spread, fp32: Spread) -> Row:
    """Return the change of the spread; tested by the change of its square, which is that times the sum of both."""
    n, total = len(quantized.influence), quantized.root + fp32.root
    error = variance_of_mean(quantized.influence - fp32.influence)
    *ends, p = normal_test(quantized.square - fp32.square, error)
    low, high = (end / total if total > 0 else np.nan for end in ends)
    return row("template_spread_change", quantized.root - fp32.root, low, high, p, n)


def _to_spread(quantized: pl.DataFrame, fp32: pl.DataFrame, of: Spread) -> Row:
    """Return the change of the accuracy over FP32's spread; null where its interval reaches 0."""
    n = len(quantized)
    right, was = ((side["prediction"] == side["label"]).to_numpy().astype(float) for side in (quantized, fp32))
    if not of.interval[0] > 0:
        return row("change_to_template_spread", np.nan, np.nan, np.nan, np.nan, n)
    change = float((right - was).mean())
    influence = (right - was - change) / of.root - change * of.influence / (2 * of.root**3)
    low, high, _ = normal_test(change / of.root, variance_of_mean(influence))
    return row("change_to_template_spread", change / of.root, low, high, np.nan, n)
