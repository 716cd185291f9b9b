"""Views of rows that figures, tables and claims share: which rows are read, and their means; free of torch.

Rows may be a frame or a lazy frame, with String or Categorical columns, or `Recorded` rows. Rows without a finite value
are left out here; the report counts them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from reliquant.files.artifacts import UNKNOWN
from reliquant.grid import bits_of
from reliquant.measures.stats import p_of_interval
from reliquant.report.averages import (
    AT_ONCE,
    averaged,
    in_file,
    in_parts,
    over_seeds,
    with_lone_seeds,
    with_replicates,
    with_seeds,
)
from reliquant.report.common_sets import common
from reliquant.study.config import RETRIEVAL

VARIANT = ("model", "source", "scheme", "family", "precision", "scope", "proxy", "seed")
UNDEFINED = pl.col("value").is_null() | ~pl.col("value").is_finite()  # null, NaN or infinite
CELL = pl.struct("value", "low", "high", "freedom")  # of `mean_of_runs`: what `tabling.changes` writes
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
BIN = ("source", "precision", "scale", "bin")


@dataclass(frozen=True)
class Recorded:
    """Hold rows and note what `select`, `cells` and `matching` read of them: the rows behind a piece of a report."""

    rows: Rows
    read: dict[tuple[object, ...], pl.DataFrame] = field(default_factory=dict)  # what was asked -> the rows

    def lazy(self) -> pl.LazyFrame:
        """Return the rows as a lazy frame."""
        return self.rows.lazy()


@dataclass(frozen=True)
class Lean:
    """Hold rows that lie in a file, in Arrow's form, and their replicates in another, an array (lines, KEPT) of .npy.

    The rows' column `line` says where. So several processes share one copy of them, and none has to hold them.
    """

    file: Path
    replicates: Path

    def lazy(self) -> pl.LazyFrame:
        """Return the rows as a lazy frame."""
        return pl.scan_ipc(self.file, glob=False)


Rows = pl.DataFrame | pl.LazyFrame | Lean | Recorded  # what figures, tables and claims get: any of them has `lazy()`


def select(
    rows: Rows, measures: str | Iterable[str], /, *, suite: str = "clean", scale: str = "native", scheme: str = ""
) -> pl.DataFrame:
    """Return the rows of some measures in a suite, with a finite value, of finished variants (of one scheme, if named).

    Of the noise suite these are the means over corruptions and severities, whose intervals `measures` made jointly; of
    the suite retrieval those of embeddings as they are, of no other stored form (directions stand in `group`).
    """
    form = "" if suite == RETRIEVAL else None
    frame = cells(rows, measures, suite=suite, scale=scale, scheme=scheme, form=form)
    return frame.filter((pl.col("corruption") == "mean") & (pl.col("severity") == 0)) if suite == "noise" else frame


def cells(
    rows: Rows,
    measures: str | Iterable[str],
    /,
    *,
    suite: str,
    scale: str = "native",
    scheme: str = "",
    form: str | None = None,
) -> pl.DataFrame:
    """Return the rows of some measures in a suite, each corruption, severity and score (or that one `form`) alone."""
    measures = [measures] if isinstance(measures, str) else list(measures)
    kept = (pl.col("suite") == suite) & pl.col("measure").is_in(measures) & (pl.col("scale") == scale)
    kept &= (pl.col("scheme") == scheme) if scheme else pl.lit(True)
    kept &= (pl.col("score") == form) if form is not None else pl.lit(True)
    frame = rows.lazy().filter(kept & pl.col("iteration").is_null() & pl.col("value").is_finite()).collect()
    return noted(rows, (suite, scale, *filter(None, [scheme]), *measures, *([] if form is None else [form])), frame)


def matching(rows: Rows, pattern: str, /, *, suite: str = "explain", scale: str = "native") -> pl.DataFrame:
    """Return the rows of a suite whose measure matches a pattern, with a finite value."""
    kept = (pl.col("suite") == suite) & (pl.col("scale") == scale)
    kept &= pl.col("measure").cast(pl.String).str.contains(pattern)
    return noted(rows, (suite, scale, pattern), rows.lazy().filter(kept & pl.col("value").is_finite()).collect())


def noted(rows: Rows, asked: tuple[object, ...], frame: pl.DataFrame, /) -> pl.DataFrame:
    """Return what was read of the rows with its texts as strings; `Recorded` rows keep it under what was asked."""
    frame = frame.with_columns(pl.col(pl.Categorical).cast(pl.String))
    if isinstance(rows, Recorded):
        rows.read[asked] = frame.drop("replicates", "line", strict=False)
        rows = rows.rows
    if not isinstance(rows, Lean):
        return frame
    return with_replicates(frame, rows.replicates) if frame.height <= AT_ONCE else in_file(frame, rows.replicates)


def binned(rows: Rows, kind: str, /) -> pl.DataFrame:
    """Return the binned confidences of the `explain` rows: what reliability and trajectory diagrams draw.

    Columns: source, precision, scale, bin, mean confidence, accuracy and n; means are weighted by images. `kind` is
    `reliability` (bins of a model's own confidence) or `trajectory` (bins of FP32's confidence).
    """
    confidence, accuracy = f"{kind}_confidence", f"{kind}_accuracy"
    parts = [select(rows, [confidence, accuracy], suite="explain", scale=scale) for scale in ("native", "tuned")]
    bins = pl.concat(parts).with_columns(bin=pl.col("group").str.extract(r"(\d+)$").cast(pl.Int64))
    mean = (pl.col("value") * pl.col("n")).sum() / pl.col("n").sum()
    means = bins.group_by([*BIN, "measure"]).agg(mean, n=pl.col("n").sum())
    confidences = means.filter(measure=confidence).select(*BIN, "n", confidence="value")
    accuracies = means.filter(measure=accuracy).select(*BIN, accuracy="value")
    return confidences.join(accuracies, on=list(BIN), how="inner").sort(BIN)


def quantized(frame: pl.DataFrame, /) -> pl.DataFrame:
    """Leave FP32 out, also as a runtime runs it (`fp32@openvino`)."""
    return frame.filter(pl.col("scheme").cast(pl.String).str.replace("@.*$", "") != "fp32")


def mean_of_sets(frame: pl.DataFrame, /, *by: str, strict: bool = False) -> pl.DataFrame:
    """Average each variant's measures over test sets: value, low, high, n (images of a set), sets, left, replicates.

    Cells of one set (corruptions, severities, scores) are averaged first. What sets share, such as in-distribution
    images, moves them together in each resample, see `averages.averaged`. If any end is null, so are the ends of the
    mean. `n` is the mean over sets: a sum would count images once for each set that they are in.

    All means of one measure (and `by`) are over the same cells, so that they may be compared: variants and seeds that
    lack some are left out (`common_sets.common`, which says what `strict` is). `sets` names the sets, and `left` what
    was left out and why.
    """
    keys, alike = [*VARIANT, *by, "measure"], [*by, "measure"]
    same = common(frame, VARIANT, alike, strict=strict)
    parts = list(in_parts(same.rows, keys)) if "kept_in" in frame.columns else []
    means = pl.concat([_over_sets(part, keys) for part in parts or [same.rows]])
    means = means.join(same.left, on=alike, how="left", nulls_equal=True, maintain_order="left")
    return means.with_columns(pl.col("left").fill_null(""))


def _over_sets(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    sets = averaged(frame, [*keys, "dataset"] if "dataset" not in keys else keys, n=pl.col("n").max())
    names = pl.col("dataset").unique().sort().str.join(", ")
    return averaged(sets, keys, n=pl.col("n").mean().round().cast(pl.Int64), sets=names)


def mean_of_runs(frame: pl.DataFrame, by: Sequence[str], /) -> pl.DataFrame:
    """Average a measure over runs: value, low, high, freedom, runs, n, replicates.

    Runs that differ in their seed alone are averaged first; seeds are a random effect, so their spread widens the
    interval. Other runs are those that they are; their images are what may vary, and runs that share images share
    resamples. `freedom` are the degrees of freedom of the interval, infinite where no seeds were averaged.
    """
    runs = with_lone_seeds(over_seeds(frame, by), by)
    squared, part = pl.col("seed_variance") ** 2 / pl.col("seed_freedom"), pl.col("seed_variance").sum()
    means = averaged(
        runs,
        list(by),
        seed_variance=part / pl.len() ** 2,
        seed_images=pl.col("seed_images").sum() / pl.len() ** 2,
        seed_freedom=pl.when(squared.sum() > 0).then(part**2 / squared.sum()),
        runs=pl.col("runs").sum(),
        n=pl.col("n").max(),
    )
    return with_seeds(means)


def wide(frame: pl.DataFrame, /, *by: str) -> pl.DataFrame:
    """Turn measures into columns: `<measure>`, `<measure>_low`, `<measure>_high`; one row per variant and `by`."""
    pivoted = frame.pivot("measure", index=[*VARIANT, *by], values=["value", "low", "high"], aggregate_function="mean")
    names = {column: re.sub(r"^(value|low|high)_(.*)$", _swap, column) for column in pivoted.columns}
    return pivoted.rename(names).sort([*VARIANT, *by])


def ordered_precisions(frame: pl.DataFrame, /) -> list[str]:
    """List a frame's precisions, most bits first; what is unknown comes last.

    >>> ordered_precisions(pl.DataFrame({"precision": ["w4a8", "fp32", "w8a8"]}))
    ['fp32', 'w8a8', 'w4a8']
    """
    known = [p for p in frame["precision"].unique().to_list() if p != UNKNOWN]
    unknown = [UNKNOWN] if len(known) < frame["precision"].n_unique() else []
    return sorted(known, key=lambda p: (-weight_bits(p), -activation_bits(p), p)) + unknown


def weight_bits(precision: str, /) -> float:
    """Return the bits of a weight in a precision such as `w4a8`; `fp32` has 32, and one that is unknown NaN."""
    return _bits(precision, 0)


def activation_bits(precision: str, /) -> float:
    """Return the bits of an activation in a precision, likewise."""
    return _bits(precision, 1)


def _bits(precision: str, place: int) -> float:
    if precision == UNKNOWN:
        return float("nan")
    return 32.0 if precision == "fp32" else float(bits_of(precision)[place])


def ordered_schemes(frame: pl.DataFrame, /) -> list[tuple[str, str]]:
    """List a frame's (family, scheme) pairs, families together."""
    return sorted(frame.select("family", "scheme").unique().rows())


def p_value(value: float | None, low: float | None, high: float | None, freedom: float = float("inf"), /) -> float:
    """Return the p-value of no change from the side of a 95 % interval that leads to 0, normal or Student's t.

    So it is below .05 just where the interval leaves 0 out, skewed or not; NaN without an interval.

    >>> round(p_value(1.0, 0.0, 2.0), 3)
    0.05
    """
    if value is None or low is None or high is None or not low < high:
        return float("nan")
    side = value - low if value > 0 else high - value
    return p_of_interval(value, side, freedom) if side > 0 else float("nan")


def marked(p: float, /) -> str:
    """Return the stars of a p-value, which is corrected for what the reader sees: * .05, ** .01, *** .001.

    >>> marked(0.04), marked(0.0005), marked(0.05), marked(float("nan"))
    ('*', '***', '', '')
    """
    return next((mark for level, mark in STARS if p < level), "")


def _swap(match: re.Match[str]) -> str:
    """Turn `low_<measure>` into `<measure>_low`, and `value_<measure>` into `<measure>`."""
    return match[2] if match[1] == "value" else f"{match[2]}_{match[1]}"
