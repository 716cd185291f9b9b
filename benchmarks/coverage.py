"""How often 95 % intervals hold the truth: of headline measures, their changes, and means over sets, runs and seeds.

`python benchmarks/coverage.py [--quick] [--worlds NAME ...] [--sizes N ...]`. Each replication draws a study anew
(`worlds.py`), measures it with `measures.rows.rows` and averages rows with `report.frames`, as a study does.

A cell is one measure of one world at one n. It is within if its coverage may be 0.93 to 0.975 (at n = 200, 0.90 to
0.99): if the 95 % Clopper-Pearson interval of the share of replications that hold the truth meets that. Where the truth
is 0, or nearer to it than one answer in n, no upper end counts, as every interval holds what it cannot tell from 0. The
last line's `ratio` is the share of cells within; the table also tells which are so by the share itself.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import polars as pl
from scipy.stats import beta
from worlds import FEW, WORLDS, Found, Model, World, labels, study, truths

from reliquant.measures.rows import HEADLINE, rows
from reliquant.report.frames import mean_of_runs, mean_of_sets

SIZES, HEAVY = (200, 1000, 10_000), ("whole", "runs", "seeds")
REPLICATIONS = {200: 400, 1000: 400, 10_000: 150}  # of heavy worlds 0.6 times as many
BAND = {200: (0.90, 0.99)}
OTHERS = (0.93, 0.975)
WORDS = {"model": "m", "source": "s", "family": "f", "precision": "w4a8", "scope": "all", "proxy": "p"}
WORDS["scale"] = "native"
Key = tuple[str, str, str]  # kind, suite and dataset, measure
Rows = Iterator[tuple[Key, dict[str, float | None]]]
Truth = Callable[[float], float]  # of the share of flips


@dataclass
class Cell:
    """Count which intervals held the truth, of those that there were."""

    held: int = 0
    below: int = 0  # intervals that lie below the truth
    number: int = 0
    none: int = 0  # values without an interval
    truths: list[float] = field(default_factory=list)

    def add(self, row: dict[str, float | None], truth: float, /) -> None:
        """Count a row's interval."""
        self.truths.append(truth)
        low, high = row["low"], row["high"]
        if low is None or high is None:
            self.none += 1
            return
        self.number += 1
        self.held += low - 1e-12 <= truth <= high + 1e-12
        self.below += high + 1e-12 < truth

    def within(self, n: int) -> tuple[bool, bool]:
        """Whether the coverage may be, and whether the share that was seen is, in the band."""
        low, high = BAND.get(n, OTHERS)
        if np.mean(np.abs(self.truths)) * n < 1:
            high = 1.0
        least = beta.ppf(0.025, self.held, self.number - self.held + 1) if self.held else 0.0
        most = beta.ppf(0.975, self.held + 1, self.number - self.held) if self.held < self.number else 1.0
        return bool(least <= high and most >= low), low <= self.held / self.number <= high


def measured(world: World, n: int, rng: np.random.Generator, resamples: int) -> tuple[float, Rows]:
    """Draw and measure one study; return its share of flips, and each headline row with its key."""
    models, flips = world.models, 0.0
    if world is WORLDS["few flips"]:
        flips = float(np.exp(rng.uniform(*np.log(FEW))))
        models = (models[0], replace(models[1], flips=flips))
    if world.seeds:
        models = (models[0], *(replace(m, mean=m.mean + world.seeds * rng.normal()) for m in models[1:]))
    drawn = study(world, labels(n, world.classes), models, rng)
    tables = []
    for number, variant in enumerate(drawn[1:]):
        found = rows(variant, drawn[0], resamples=resamples, seed=int(rng.integers(2**31)))
        scheme, seed = ("s", number) if world.seeds else (f"s{number}", 0)
        words = {name: pl.lit(word) for name, word in WORDS.items()} | {"scheme": pl.lit(scheme)}
        tables.append(found.with_columns(**words, seed=pl.lit(seed, pl.Int64), iteration=pl.lit(None, pl.Int64)))
    names = pl.col("measure").str.replace("_change$", "").is_in(HEADLINE)
    return flips, _rows(pl.concat(tables).filter(names, pl.col("value").is_not_null()), world)


def _rows(found: pl.DataFrame, world: World) -> Rows:
    noise = (pl.col("suite") == "noise") & ((pl.col("corruption") != "mean") | (pl.col("severity") > 0))
    if len(world.models) == 2:
        for row in found.filter(~noise, pl.col("group") == "").iter_rows(named=True):
            yield ("one", f"{row['suite']} {row['dataset']}", row["measure"]), row
    for suite in ("clean", "ood"):
        part = found.filter(suite=suite)
        if not part.height:
            continue
        if part["dataset"].n_unique() > 1:
            part = mean_of_sets(part).with_columns(dataset=pl.lit(""), group=pl.lit(""))
            for row in part.iter_rows(named=True) if len(world.models) == 2 else ():
                yield ("sets", suite, row["measure"]), row
        for row in mean_of_runs(part, ["measure"]).iter_rows(named=True) if len(world.models) > 2 else ():
            yield ("seeds" if world.seeds else "runs", suite, row["measure"]), row


@cache
def truth_of(name: str, n: int, number: int) -> dict[Key, Truth]:
    """Return the true value of each key; where flips differ it is a parabola through those of three shares."""
    world = WORLDS[name]

    def of(model: Model) -> dict[Key, float]:
        return dict(_keys(truths(world, (world.models[0], model), n, number), world))

    first = world.models[1]
    if world is WORLDS["few flips"]:
        shares = np.array([FEW[0], 0.006, FEW[1]])
        each = [of(replace(first, flips=share)) for share in shares]
        return {key: np.poly1d(np.polyfit(shares, [one[key] for one in each], 2)) for key in each[0]}
    if world.seeds:  # the mean over a normal effect, by Gauss and Hermite
        at, weight = np.polynomial.hermite_e.hermegauss(5)
        each = [of(replace(first, mean=first.mean + world.seeds * x)) for x in at]
    else:
        each = [of(model) for model in world.models[1:]]
        weight = np.ones(len(each))
    means = {key: float(np.average([one[key] for one in each], weights=weight)) for key in each[0]}
    return {key: lambda _, value=value: value for key, value in means.items()}


def _keys(found: Found, world: World) -> Iterator[tuple[Key, float]]:
    several = "seeds" if world.seeds else "runs"
    means = defaultdict(list)
    for (suite, dataset, measure), value in found.items():
        yield ("one", f"{suite} {dataset}", measure), value
        means[suite, measure].append(value)
    for (suite, measure), values in means.items():
        for kind in ("sets", several):
            yield (kind, suite, measure), float(np.mean(values))


def cells_of(name: str, n: int, replications: int, resamples: int, number: int) -> dict[Key, Cell]:
    """Draw a world's studies of n images and count."""
    alike = WORLDS[name].classes == "ten"  # whatever n is
    truth, cells = truth_of(name, 1000 if alike else n, number), defaultdict(Cell)
    rng = np.random.default_rng([n, list(WORLDS).index(name)])
    for _ in range(replications):
        flips, found = measured(WORLDS[name], n, rng, resamples)
        for key, row in found:
            if key in truth:
                cells[key].add(row, float(truth[key](flips)))
    return {key: cell for key, cell in cells.items() if cell.number >= replications / 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", nargs="+", choices=list(WORLDS), default=list(WORLDS))
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="a few replications of two worlds, to see that all runs")
    args = parser.parse_args()
    if args.quick:
        args.worlds, args.sizes, args.resamples = ["few flips", "whole"], [200], 200
    start, within, plainly, total = time.process_time(), 0, 0, 0
    print("| n | world | kind | rows | measure | truth | coverage | below / above it | |")
    print("|---" * 9 + "|")
    for n in args.sizes:
        for name in args.worlds:
            replications = int(REPLICATIONS.get(n, 200) * (0.6 if name in HEAVY else 1.0))
            given = (12, args.resamples, 20_000) if args.quick else (replications, args.resamples, 300_000)
            for (kind, where, measure), cell in sorted(cells_of(name, n, *given).items()):
                good, seen = cell.within(n)
                within, plainly, total = within + good, plainly + seen, total + 1
                share, missed = cell.held / cell.number, cell.number - cell.held
                sides = f"{cell.below / cell.number:.3f} / {(missed - cell.below) / cell.number:.3f}"
                words = (
                    f"{n} | {name} | {kind} | {where} | {measure} | {np.mean(cell.truths):.4g} | {share:.3f} | {sides}"
                )
                print(f"| {words} | {'' if seen else 'by its interval' if good else 'outside'} |", flush=True)
    found = {"cells": total, "within": within, "by_share": plainly, "cpu_s": time.process_time() - start}
    print(
        json.dumps({"name": "coverage", "ratio": within / total, "target": 1.0, "better": "higher", "medians": found})
    )


if __name__ == "__main__":
    main()
