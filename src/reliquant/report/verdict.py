"""What a verdict is, and the rules that turn the evidence of runs into one; free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from reliquant.files.artifacts import UNKNOWN
from reliquant.report import evidence, frames, tabling
from reliquant.report.common_sets import NothingInCommon, named, some_of
from reliquant.report.frames import VARIANT, Rows

Word = Literal["supported", "contradicted", "mixed", "too small to tell", "not testable here"]
MOST = 2 / 3  # of the runs whose side is proven, that must lie on the mean's
POWER = 0.9  # the chance that an effect is planned with, so that at least 0.8 hold though widths are estimates
UNITS = {  # of a value: by what it is multiplied, and what then stands behind it
    "fraction": (100, " points"),
    "relative change": (100, " % relative"),
    "squared error": (10_000, " points²"),
    "dB a decade of rank": (1, " dB a decade of rank"),
}


class NotTestable(ValueError):
    """The rows cannot answer the question; the message says what is missing."""


@dataclass(frozen=True)
class Finding:
    """A verdict with its reason: the effect and its 95 % interval, how many runs and images of a set, and which rows.

    `told` names the effect that such a study tells with a chance of at least 80 %. `needs` are the images that each
    set would need, of a study that is too small to tell.
    """

    verdict: Word
    why: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    runs: int = 0
    images: int = 0
    told: str = ""
    needs: int | None = None
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
    by: tuple[str, ...] = (),
) -> pl.DataFrame:
    """Return one line per quantized variant (and `by`): the mean over sets of a measure, with replicates.

    Raises NotTestable when there is none, or none that has all sets.
    """
    selected = frames.quantized(frames.select(rows, measure, suite=suite, scale=scale))
    labelled = selected.with_columns(
        kind=pl.col("family").map_elements(kind, pl.String),
        bits=pl.col("precision").map_elements(frames.weight_bits, pl.Float64),
    )
    tuned = " after tuning the logit scale" if "tuned" in scale else ""
    for column, wanted in (("kind", list(kinds)), ("bits", bits), ("scope", scope)):
        if wanted:
            labelled = labelled.filter(
                pl.col(column).is_in(wanted) if isinstance(wanted, list) else pl.col(column) == wanted
            )
            if labelled.is_empty():
                raise NotTestable(f"no {suite} rows of {measure}{tuned} with {column} {_said(wanted)}")
    if sources:
        labelled = labelled.filter(pl.col("source").str.to_lowercase().str.contains(f"^({'|'.join(sources)})"))
    if labelled.is_empty():
        of = f" of sources like {', '.join(sources)}" if sources else ""
        raise NotTestable(f"no {suite} rows of {measure}{of}{tuned}")
    return over_sets(labelled.select(selected.columns), *by)


def over_sets(cells: pl.DataFrame, /, *by: str) -> pl.DataFrame:
    """Return the means over sets of runs that have the same sets; raise NotTestable where no run has them all."""
    try:
        return frames.mean_of_sets(cells, *by, strict=True)
    except NothingInCommon as reason:
        raise NotTestable(str(reason)) from None


def most_bits(rows: Rows, /, *, suite: str = "clean") -> float:
    """Return the most weight bits that quantized variants of a suite have, of those whose precision is known."""
    variants = rows.lazy().filter((pl.col("suite") == suite) & (pl.col("scheme") != "fp32"))
    precisions = variants.select(pl.col("precision").cast(pl.String).unique()).collect()["precision"]
    if precisions.is_empty():
        raise NotTestable(f"no quantized variant in the {suite} suite")
    known = [frames.weight_bits(p) for p in precisions if p != UNKNOWN]
    if not known:
        raise NotTestable(f"the precision of the variants in the {suite} suite is unknown")
    return max(known)


def share(chosen: pl.Series, /) -> float:
    """Return the share of lines that are true."""
    return int(chosen.sum()) / len(chosen)


def written(value: float, unit: str, /) -> str:
    """Write an effect in its unit.

    >>> written(0.012, "fraction"), written(0.0012, "squared error")
    ('+1.2 points', '+12.0 points²')
    >>> written(-1e-9, "fraction")
    '0.0 points'
    """
    factor, word = UNITS[unit]
    return f"{tabling.number(value, factor=factor, sign=True)}{word}"


def by_sign(
    runs: pl.DataFrame,
    sign: int,
    /,
    *,
    unit: str,
    beyond: float = 0.0,
    margin: float = 0.0,
    parts: int = 1,
    **used: Any,
) -> Finding:
    """Judge a claim that the mean over runs lies above (sign 1) or below (-1) a bound.

    Supported: the 95 % interval lies beyond the bound; contradicted: on the other side, or so near the bound that the
    whole interval is within a `margin` of it. Mixed: runs prove both sides (each test corrected for their number), and
    the mean includes the bound, or less than two thirds of them lie on its side. Else the study is too small to tell.
    Runs without an interval are left out. `told` is planned so that all `parts` of a claim hold at once. Raises
    NotTestable where no run has an interval.
    """
    runs, left = evidence.known(runs)
    if runs.is_empty():
        raise NotTestable(f"no run has an interval ({left})")
    whole = evidence.mean(runs)
    low, high = sorted((end - beyond) * sign for end in (whole.low, whole.high))
    value, half = (whole.value - beyond) * sign, (whole.high - whole.low) / 2
    ways = [int(evidence.proven(evidence.scores(runs, way * sign, beyond=beyond)).sum()) for way in (1, -1)]
    verdict, near = _word(low, high, ways, margin), -margin < low and high < margin
    why = f"{share((runs['value'] - beyond) * sign > 0):.0%} of {whole.runs} runs go the claimed way"
    why += f", {ways[0]} of them proven, {ways[1]} proven the other way"
    said = "0" if beyond == 0 else written(beyond, unit)
    why += f"; the 95 % interval of the mean {'excludes' if low > 0 or high < 0 else 'includes'} {said}"
    if near and verdict == "contradicted" and high > 0:
        why += f" and lies within {written(margin, unit).lstrip('+')} of it"
    needs = None
    if verdict == "too small to tell":
        needs = evidence.needed(whole.images, half, max(abs(value), margin - abs(value)), power=POWER)
        why += needed_in_words(needs, whole.images, seeds=bool(np.isfinite(whole.freedom)))
    why += f"; {left}" if left else ""
    reached = evidence.reach(1, power=power_of_each(parts)) * half / evidence.Z95
    told = written(beyond + sign * reached, unit)
    ends: dict[str, Any] = {"low": whole.low, "high": whole.high, "runs": whole.runs, "images": whole.images}
    return Finding(verdict, why, whole.value, **ends, unit=unit, told=told, needs=needs, rows=used)


def _word(low: float, high: float, ways: list[int], margin: float) -> Word:
    """Return the word for an interval around a bound at 0 and the counts of runs proven beyond it and below it."""
    ahead, behind = ways
    apart = ahead > 0 and behind > 0
    if low > 0:
        return "mixed" if apart and ahead < MOST * (ahead + behind) else "supported"
    if high < 0:
        return "mixed" if apart and behind < MOST * (ahead + behind) else "contradicted"
    if apart:
        return "mixed"
    return "contradicted" if -margin < low and high < margin else "too small to tell"


def unchanged(runs: pl.DataFrame, /, *, unit: str, margin: float, parts: int = 1, **used: Any) -> Finding:
    """Judge a claim that nothing changes: supported where the interval lies within a margin on both sides.

    These are two one-sided tests (Schuirmann 1987); contradicted is a change beyond the margin.
    """
    above = by_sign(runs, 1, unit=unit, beyond=-margin)
    below = by_sign(runs, -1, unit=unit, beyond=margin)
    words = {above.verdict, below.verdict}
    if "contradicted" in words:
        verdict: Word = "contradicted"
    else:
        verdict = "mixed" if "mixed" in words else "supported" if words == {"supported"} else "too small to tell"
    apart = {"supported": "within", "contradicted": "beyond"}.get(verdict, "not told from")
    why = f"the 95 % interval of the mean is {apart} {written(margin, unit).lstrip('+')} either way"
    needs = None
    if verdict == "too small to tell":
        needs = max((one.needs for one in (above, below) if one.needs is not None), default=None)
        why += needed_in_words(needs, above.images)
    _, left = evidence.known(runs)
    why += f"; {left}" if left else ""
    half = (above.high - above.low) / 2 if above.high is not None and above.low is not None else np.nan
    each = evidence.reach(1, power=power_of_each(2 * parts)) * half / evidence.Z95  # both tests must succeed
    told = f"no change, with a margin of {written(each, unit).lstrip('+')}"
    return replace(above, verdict=verdict, why=why, needs=needs, told=told, rows=used)


def together(parts: Mapping[str, Finding], /, **used: Any) -> Finding:
    """Judge a claim of several parts, which must all hold; the effect is that of the first.

    Parts of which some are supported and some contradicted make it mixed; else one that is contradicted settles it.
    """
    words = {one.verdict for one in parts.values()}
    if words == {"supported"}:
        verdict: Word = "supported"
    elif "mixed" in words or {"supported", "contradicted"} <= words:
        verdict = "mixed"
    else:
        verdict = "contradicted" if "contradicted" in words else "too small to tell"
    first = next(iter(parts.values()))
    said = []
    for name, one in parts.items():
        value = "" if one.value is None or one.unit not in UNITS else f" {written(one.value, one.unit)}"
        said.append(f"{name}{value}: {one.verdict} ({one.why})")
    needs = max((one.needs for one in parts.values() if one.needs is not None), default=None)
    told = "; ".join(f"{name} {one.told}" for name, one in parts.items() if one.told)
    needs = needs if verdict == "too small to tell" else None
    return replace(first, verdict=verdict, why="; ".join(said), told=told, needs=needs, rows=used)


def power_of_each(parts: int, whole: float = POWER, /) -> float:
    """Return the power of each part of a claim that gives all of them together at least a `whole`."""
    return 1 - (1 - whole) / parts


def needed_in_words(needs: int | None, images: int, /, *, seeds: bool = False) -> str:
    """Say how many images each set would need where it has `images`; of means over `seeds`, that these count too."""
    if needs is None:
        return ""
    return f"; would need about {needs:,} images a set, where {images:,} are{', or more seeds' if seeds else ''}"


def joined(parts: Iterable[tuple[str, pl.DataFrame]], /) -> pl.DataFrame:
    """Join runs of several measures on their variant: columns name, name_low, name_high, name_n, and `left`.

    `left` says what is left out: of each measure's means, and the variants that lack a measure.
    """
    whole, left, every = None, [], []
    for name, runs in parts:
        columns = {name: "value", f"{name}_low": "low", f"{name}_high": "high", f"{name}_n": "n"}
        part = runs.select(*VARIANT, **{new: pl.col(old) for new, old in columns.items()})
        whole = part if whole is None else whole.join(part, on=list(VARIANT), how="inner", maintain_order="left")
        every.append(runs.select(VARIANT))
        if "left" in runs.columns:
            left += [f"{name}: {said}" for said in runs["left"].unique(maintain_order=True) if said]
    if whole is None or whole.is_empty():
        raise NotTestable("; ".join(["no variant has all the measures that this claim joins", *left]))
    without = pl.concat(every).unique(maintain_order=True).join(whole, on=list(VARIANT), how="anti")
    if without.height:
        left.append(f"{without.height} variants left out, without all measures: {some_of(named(without))}")
    return whole.with_columns(left=pl.lit("; ".join(left)))


def _said(wanted: Any) -> str:
    """Write what was asked for in an error message."""
    if isinstance(wanted, list):
        return ", ".join(wanted)
    return f"{wanted:g}" if isinstance(wanted, float) else str(wanted)
