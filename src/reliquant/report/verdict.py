"""What a verdict rests on: effects with intervals over runs, and the rules that turn them into words; free of torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import polars as pl
from scipy.stats import norm

from reliquant.report import frames
from reliquant.report.frames import VARIANT, Rows

Word = Literal["supported", "contradicted", "mixed", "not testable here"]
MOST = 2 / 3  # share of the runs that must agree with the mean
Z = float(norm.ppf(0.975))


class NotTestable(ValueError):
    """The rows cannot answer the question; the message says what is missing."""


class Effect(TypedDict):
    """A mean over runs with its 95 % interval (None where it is unknown) and counts: words of a `Finding`."""

    value: float
    low: float | None
    high: float | None
    runs: int
    images: int


@dataclass(frozen=True)
class Finding:
    """A verdict with its reason: the effect and its 95 % interval, how many runs and images, and which rows."""

    verdict: Word
    why: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    runs: int = 0
    images: int = 0
    rows: dict[str, Any] = field(default_factory=dict)


def kind(family: str, /) -> str:
    """Sort a family into the paper's groups: `ptq`, `qat`, `rotation`, or itself.

    >>> kind("Simple PTQ"), kind("QAT (Contr.)"), kind("Rot+LSQ"), kind("QAT (Contr. + MSE)")
    ('ptq', 'qat', 'rotation', 'qat+mse')
    """
    name = family.lower()
    if name.startswith("rot"):
        return "rotation"
    if name.startswith("qat"):
        return "qat+mse" if "mse" in name else "qat"
    return "ptq" if name in ("simple ptq", "ptq") else name


def runs_of(
    rows: Rows,
    measure: str,
    /,
    *,
    suite: str = "clean",
    scale: str = "native",
    sources: tuple[str, ...] = (),
    kinds: tuple[str, ...] = (),
    bits: float | None = None,
    scope: str | None = None,
) -> pl.DataFrame:
    """Return one line per quantized variant: the mean over sets of a measure; raise NotTestable when there is none."""
    selected = frames.quantized(frames.select(rows, measure, suite=suite, scale=scale))
    named = selected.with_columns(
        kind=pl.col("family").map_elements(kind, pl.String),
        bits=pl.col("precision").map_elements(frames.weight_bits, pl.Float64),
    )
    tuned = " after tuning the logit scale" if scale == "tuned" else ""
    for column, wanted in (("kind", list(kinds)), ("bits", bits), ("scope", scope)):
        if wanted:
            named = named.filter(pl.col(column).is_in(wanted) if isinstance(wanted, list) else pl.col(column) == wanted)
            if named.is_empty():
                raise NotTestable(f"no {suite} rows of {measure}{tuned} with {column} {_said(wanted)}")
    if sources:
        named = named.filter(pl.col("source").str.to_lowercase().str.contains(f"^({'|'.join(sources)})"))
    if named.is_empty():
        of = f" of sources like {', '.join(sources)}" if sources else ""
        raise NotTestable(f"no {suite} rows of {measure}{of}{tuned}")
    return frames.mean_of_sets(named.select(selected.columns))


def most_bits(rows: Rows, /, *, suite: str = "clean") -> float:
    """Return the most weight bits that quantized variants of a suite have."""
    variants = rows.lazy().filter((pl.col("suite") == suite) & (pl.col("scheme") != "fp32"))
    precisions = variants.select(pl.col("precision").cast(pl.String).unique()).collect()["precision"]
    if precisions.is_empty():
        raise NotTestable(f"no quantized variant in the {suite} suite")
    return max(frames.weight_bits(p) for p in precisions)


def effect(runs: pl.DataFrame, /) -> Effect:
    """Return the mean over runs, its interval over images and seeds, and the counts."""
    whole = frames.mean_of_runs(runs.with_columns(all=pl.lit(0)), ["all"]).row(0, named=True)
    value, low, high = whole["value"], whole["low"], whole["high"]
    return Effect(value=value, low=low, high=high, runs=runs.height, images=whole["n"])


def share(chosen: pl.Series, /) -> float:
    """Return the share of lines that are true."""
    return int(chosen.sum()) / len(chosen)


def by_sign(runs: pl.DataFrame, sign: int, /, *, unit: str, **used: Any) -> Finding:
    """Judge a predicted direction: supported when the interval and two thirds of the runs lie on that side."""
    mean = effect(runs)
    agree, low, high = share(runs["value"] * sign > 0), mean["low"], mean["high"]
    ends = None if low is None or high is None else (low * sign, high * sign)
    ahead = agree >= MOST and (ends is None or min(ends) > 0)
    against = agree <= 1 - MOST and (ends is None or max(ends) < 0)
    verdict: Word = "supported" if ahead else "contradicted" if against else "mixed"
    why = f"{agree:.0%} of {runs.height} runs go the claimed way"
    if ends is not None:
        why += f"; the 95 % interval of the mean {'excludes' if min(ends) > 0 or max(ends) < 0 else 'includes'} 0"
    return Finding(verdict, why, **mean, unit=unit, rows=used)


def significant(runs: pl.DataFrame, column: str, sign: int, /, *, tests: int = 1) -> pl.Series:
    """Whether each run's value lies beyond zero on one side at 5 %, Bonferroni-corrected for a number of tests."""
    half = (runs[f"{column}_high"] - runs[f"{column}_low"]) / (2 * Z)
    return (runs[column] * sign > half * float(norm.ppf(1 - 0.05 / tests))).fill_null(False)


def joined(parts: Iterable[tuple[str, pl.DataFrame]], /) -> pl.DataFrame:
    """Join runs of several measures on their variant: columns name, name_low, name_high."""
    whole = None
    for name, runs in parts:
        columns = {name: "value", f"{name}_low": "low", f"{name}_high": "high", f"{name}_n": "n"}
        part = runs.select(*VARIANT, **{new: pl.col(old) for new, old in columns.items()})
        whole = part if whole is None else whole.join(part, on=list(VARIANT), how="inner")
    if whole is None or whole.is_empty():
        raise NotTestable("no variant has all the measures that this claim joins")
    return whole


def _said(wanted: Any) -> str:
    """Write what was asked for in an error message."""
    if isinstance(wanted, list):
        return ", ".join(wanted)
    return f"{wanted:g}" if isinstance(wanted, float) else str(wanted)
