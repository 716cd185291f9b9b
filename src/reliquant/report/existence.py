"""Claims that some runs do something: how many certainly do, how many certainly do not; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures.stats import Z95, holm
from reliquant.report import evidence
from reliquant.report.verdict import POWER, Finding, NotTestable, Word, needed_in_words, power_of_each, written

ABOUT = (0.3, 0.5)  # a share of "about 40 %"
SURE = 0.995  # power of each run where nearly all must be proven: runs that share images err together
PLANNED = 0.95  # power of the effect that is told: the run that has it may err more than the middling one


@dataclass(frozen=True)
class Gain:
    """What a column of runs must do: lie above 0 (sign 1) or below (-1); within `margin` of 0 there is no gain."""

    sign: int
    margin: float
    unit: str


def some(runs: pl.DataFrame, gains: Mapping[str, Gain], who: str, /, **used: Any) -> Finding:
    """Judge whether some run gains in all columns of `gains` at once.

    Supported: a run whose gains are all proven, corrected for the number of runs; contradicted: every run is proven to
    lack a gain beyond the margin in some column. The effect is the share of runs that gain; from those that certainly
    do to those that may, 95 %. `runs` are as of `verdict.joined`. Raises NotTestable where no run has intervals.
    """
    asked = runs.height
    for name in gains:
        runs = runs.filter((pl.col(f"{name}_low") < pl.col(f"{name}_high")).fill_null(False))
    if runs.is_empty():
        raise NotTestable(f"none of {asked} {who} has an interval")
    each = [evidence.scores(runs, gain.sign, column=name) for name, gain in gains.items()]
    all_gain = np.min(each, axis=0)
    some_lack = np.max([_lacks(runs, name, gain) for name, gain in gains.items()], axis=0)
    gaining = evidence.proven(all_gain)
    against = np.minimum(1.0, len(gains) * evidence.one_sided(some_lack))  # of the column that lacks it most
    lacking = holm(against) <= evidence.LEVEL / 2
    none = bool((against <= evidence.LEVEL / 2).all())  # all must be proven, so that none needs a correction
    seeming = np.logical_and.reduce([(runs[c] * g.sign > 0).to_numpy() for c, g in gains.items()])
    verdict: Word = "supported" if gaining.any() else "contradicted" if none else "too small to tell"
    tests, images = runs.height, int(runs[f"{next(iter(gains))}_n"].to_numpy().max())
    why = f"of {tests} {who}, {int(gaining.sum())} gain provenly (corrected for {tests} tests)"
    why += (
        f", {int(seeming.sum())} nominally; {'all' if none else int(lacking.sum())} provenly gain less than the margin"
    )
    needs = None
    if verdict == "too small to tell":
        gained = all_gain.max() / evidence.reach(tests, power=POWER)
        needs = evidence.more_images(images, max(gained, some_lack.min() / evidence.reach(1, power=POWER)))
        why += needed_in_words(needs, images)
    why += f"; {asked - tests} left out, without an interval" if asked > tests else ""
    reached = evidence.reach(tests, power=power_of_each(len(gains), PLANNED))
    told = ", ".join(f"{name} {_reached(runs, name, gain, reached)}" for name, gain in gains.items())
    low, high = float(gaining.mean()), 1 - float(lacking.mean())
    counts: dict[str, Any] = {"runs": tests, "images": images, "needs": needs, "told": f"a variant with {told}"}
    share = float(seeming.mean())
    return Finding(verdict, why, share, min(low, share), max(high, share), "share of variants", **counts, rows=used)


def about(runs: pl.DataFrame, sign: int, /, *, unit: str, **used: Any) -> Finding:
    """Judge whether some runs, about 40 % (30 to 50), lie on one side of 0.

    The ends of the interval are the share that provenly does, and that which does not provenly lie on the other side.
    Supported: both lie between 30 and 50 %; contradicted: they lie outside. What seems to be so is no evidence: among
    many runs that are a little worse than nothing, 40 % seem better.
    """
    runs, left = evidence.known(runs)
    if runs.is_empty():
        raise NotTestable(f"no run has an interval ({left})")
    z = evidence.scores(runs, sign)
    better, worse = evidence.proven(z), evidence.proven(-z)
    value, low, high = float((z > 0).mean()), float(better.mean()), 1 - float(worse.mean())
    outside = high < ABOUT[0] or low > ABOUT[1]
    inside = ABOUT[0] <= low and high <= ABOUT[1]
    verdict: Word = "contradicted" if outside else "supported" if inside else "too small to tell"
    images, tests = int(runs["n"].to_numpy().max()), runs.height
    why = f"{value:.0%} of {tests} runs go the claimed way, {low:.0%} provenly, and {1 - high:.0%} provenly the other "
    why += f"way; 'about 40 %' is read as {ABOUT[0]:.0%} to {ABOUT[1]:.0%}"
    needs = None
    if verdict == "too small to tell":
        needs = evidence.more_images(images, float(np.abs(z).max()) / evidence.reach(tests, power=POWER))
        why += needed_in_words(needs, images)
    why += f"; {left}" if left else ""
    error = float(np.median((runs["high"] - runs["low"]).to_numpy())) / (2 * Z95)
    told = f"a run with {written(sign * error * evidence.reach(tests, power=SURE), unit)}"
    counts: dict[str, Any] = {"runs": tests, "images": images, "needs": needs, "told": told}
    return Finding(verdict, why, value, min(low, value), max(high, value), "share of runs", **counts, rows=used)


def absent(runs: pl.DataFrame, name: str, gain: Gain, /) -> bool:
    """Whether every run is proven to lack a gain in a column."""
    z = _lacks(runs, name, gain)
    return bool((np.nan_to_num(evidence.one_sided(z), nan=1.0) <= evidence.LEVEL / 2).all())


def _lacks(runs: pl.DataFrame, name: str, gain: Gain) -> NDArray[np.float64]:
    """Return how many standard errors each run lies below the margin of a gain."""
    return -evidence.scores(runs, gain.sign, column=name, beyond=gain.sign * gain.margin)


def _reached(runs: pl.DataFrame, name: str, gain: Gain, errors: float) -> str:
    """Write the gain in a column of so many standard errors, for a run of middling precision."""
    error = float(np.median((runs[f"{name}_high"] - runs[f"{name}_low"]).to_numpy())) / (2 * Z95)
    return written(gain.sign * error * errors, gain.unit)
