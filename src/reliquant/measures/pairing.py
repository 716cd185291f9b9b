"""Records of a variant beside those of FP32: the same images, or a clear error; free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures.resampling import PHOTOGRAPH

CELL = ["suite", "dataset", "reference", "group", "corruption", "severity"]
NUMBERS = ("confidence", "nll", "brier")


@dataclass(frozen=True)
class Pair:
    """Hold the records of a variant and, for differences, those of FP32 on the same images in the same order."""

    variant: pl.DataFrame
    fp32: pl.DataFrame | None

    @property
    def sides(self) -> list[pl.DataFrame]:
        """The records of the variant, then those of FP32 where there are any."""
        return [self.variant] if self.fp32 is None else [self.variant, self.fp32]

    def sort(self, *by: str) -> Pair:
        """Sort both by the same columns."""
        return Pair(self.variant.sort(*by), None if self.fp32 is None else self.fp32.sort(*by))

    def slice(self, start: int, length: int, /) -> Pair:
        """Return the records of both from one place on."""
        fp32 = None if self.fp32 is None else self.fp32.slice(start, length)
        return Pair(self.variant.slice(start, length), fp32)

    def filter(self, chosen: pl.Series | NDArray, /) -> Pair:
        """Return the chosen records of both; `chosen` holds one truth value per record."""
        return Pair(self.variant.filter(chosen), None if self.fp32 is None else self.fp32.filter(chosen))

    def select(self, columns: Sequence[str], /) -> Pair:
        """Return some columns of both."""
        return Pair(self.variant.select(columns), None if self.fp32 is None else self.fp32.select(columns))

    def followed_by(self, other: Pair, /) -> Pair:
        """Append the records of another pair, cut down to the columns of this one."""

        def both(mine: pl.DataFrame, more: pl.DataFrame) -> pl.DataFrame:
            return pl.concat([mine, more.select(mine.columns)])

        fp32 = None if self.fp32 is None or other.fp32 is None else both(self.fp32, other.fp32)
        return Pair(both(self.variant, other.variant), fp32)


def fp32_answers(pair: Pair, /) -> NDArray[np.int64] | None:
    """Return the class that FP32 predicts for each image, (n,); None where its records are not beside."""
    return None if pair.fp32 is None else pair.fp32["prediction"].to_numpy().astype(np.int64)


def without_nan(samples: pl.DataFrame, whose: str, /) -> pl.DataFrame:
    """Return the records as they are; raise ValueError naming column and cell where there is NaN."""
    names = [c for c in samples.columns if c in NUMBERS or c.startswith("score:")]
    bad = samples.select(pl.col(names).is_nan().sum()).row(0, named=True)
    for name, count in bad.items():
        if count:
            cell = samples.filter(pl.col(name).is_nan()).row(0, named=True)
            raise ValueError(f"{whose}: {name} of {count} images is NaN, first in {_named(cell)}")
    unlabelled = samples.filter((pl.col("suite") != "ood") & (pl.col("label") < 0))
    if len(unlabelled):
        cell = unlabelled.row(0, named=True)
        raise ValueError(f"{whose}: {len(unlabelled)} images without a class, first in {_named(cell)}")
    return samples


def matched(samples: pl.DataFrame, baseline: pl.DataFrame, /) -> pl.DataFrame:
    """Return the baseline in the order of cell and index; raise ValueError unless it holds just the samples' images."""
    mine, theirs = (s.group_by(CELL).agg(pl.len().alias("n")) for s in (samples, baseline))
    both = mine.join(theirs, on=CELL, how="full", coalesce=True, suffix="_f").sort(CELL)
    wrong = both.filter(pl.col("n").ne_missing(pl.col("n_f")))
    if len(wrong):
        cell = wrong.row(0, named=True)
        more = f" (and {len(wrong) - 1} more cells)" if len(wrong) > 1 else ""
        raise ValueError(
            f"variant and baseline differ in {_named(cell)}: {cell['n'] or 0} images here, "
            f"{cell['n_f'] or 0} in the baseline{more}"
        )
    samples, baseline = samples.sort([*CELL, "index"]), baseline.sort([*CELL, "index"])
    for name in ("index", "label"):
        different = (samples[name] != baseline[name]).arg_true()
        if len(different):
            i = different[0]
            raise ValueError(
                f"variant and baseline differ in {_named(samples.row(i, named=True))}: {name} {samples[name][i]} here, "
                f"{baseline[name][i]} in the baseline"
            )
    _require_same_photographs(samples, baseline)
    each_once(samples)
    return baseline


def _require_same_photographs(samples: pl.DataFrame, baseline: pl.DataFrame) -> None:
    """Raise ValueError where two records of the same place are of other photographs, by keys that both have."""
    if not all(PHOTOGRAPH in side.columns for side in (samples, baseline)):
        return
    different = (samples[PHOTOGRAPH] != baseline[PHOTOGRAPH]).fill_null(False).arg_true()
    if len(different):
        where = _named(samples.row(different[0], named=True))
        told = f"image {samples['index'][different[0]]} is another photograph here than in the baseline"
        raise ValueError(f"variant and baseline differ in {where}: {told}: evaluate both on the same images")


def each_once(samples: pl.DataFrame, /) -> pl.DataFrame:
    """Return the records as they are; raise ValueError naming the image that a cell has twice."""
    twice = samples.select([*CELL, "index"]).is_duplicated().arg_true()
    if len(twice):
        cell = samples.row(twice[0], named=True)
        raise ValueError(f"image {cell['index']} comes twice in {_named(cell)}")
    return samples


def require_same_scores(samples: pl.DataFrame, baseline: pl.DataFrame, /) -> None:
    """Raise ValueError where one side has a score of a set's images that the other has not."""
    sides = {"the variant": samples, "the baseline": baseline}
    names = [name for name in sorted({*samples.columns, *baseline.columns}) if name.startswith("score:")]
    scored = {whose: _scored(side, names) for whose, side in sides.items()}
    for whose, other in (("the variant", "the baseline"), ("the baseline", "the variant")):
        for name, suite, dataset, reference in sorted(scored[other] - scored[whose]):
            where = f"suite {suite}, dataset {dataset}, reference {reference}"
            raise ValueError(f"{whose} has no {name} in {where}, and {other} has: evaluate both with the same scores")


def _scored(samples: pl.DataFrame, names: list[str]) -> set[tuple[str, str, str, str]]:
    """Return the scores that there are, each with the suite, dataset and reference of its images."""
    cell, there = ["suite", "dataset", "reference"], [name for name in names if name in samples.columns]
    cells = samples.group_by(cell).agg(pl.col(there).is_not_null().any())
    found = set()
    for suite, dataset, reference, *has in cells.rows():
        found |= {(name, suite, dataset, reference) for name, one in zip(there, has, strict=True) if one}
    return found


def _named(cell: dict[str, object]) -> str:
    """Write a cell for an error message."""
    parts = [f"suite {cell['suite']}", f"dataset {cell['dataset']}", f"reference {cell['reference']}"]
    parts += [f"{k} {cell[k]}" for k in ("group", "corruption") if cell[k]]
    return ", ".join(parts + ([f"severity {cell['severity']}"] if cell["corruption"] else []))
