"""Records of a variant beside those of FP32: the same images, or a clear error; torch-free."""

from __future__ import annotations

import polars as pl

CELL = ["suite", "dataset", "reference", "group", "corruption", "severity"]
NUMBERS = ("confidence", "nll", "brier")


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
    """Return the baseline in the order of cell and index; raise ValueError unless it is one to one with the samples."""
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
    a, b = samples.sort([*CELL, "index"]), baseline.sort([*CELL, "index"])
    for name in ("index", "label"):
        different = (a[name] != b[name]).arg_true()
        if len(different):
            i = different[0]
            raise ValueError(
                f"variant and baseline differ in {_named(a.row(i, named=True))}: {name} {a[name][i]} here, "
                f"{b[name][i]} in the baseline"
            )
    twice = a.select([*CELL, "index"]).is_duplicated().arg_true()
    if len(twice):
        raise ValueError(f"image {a['index'][twice[0]]} comes twice in {_named(a.row(twice[0], named=True))}")
    return b


def _named(cell: dict[str, object]) -> str:
    parts = [f"suite {cell['suite']}", f"dataset {cell['dataset']}", f"reference {cell['reference']}"]
    parts += [f"{k} {cell[k]}" for k in ("group", "corruption") if cell[k]]
    return ", ".join(parts + ([f"severity {cell['severity']}"] if cell["corruption"] else []))
