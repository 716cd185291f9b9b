"""How often `check` lets a wish pass that is as near to false as can be: the truth lies just at what was wished.

`python benchmarks/gate.py [--quick] [--sizes N ...] [--worlds NAME ...]`. Each replication draws a study of known truth
anew (`worlds.py`), measures it with `measures.rows.rows`, and asks of each headline measure both that it is at least
and that it is at most its true value. `holds` is then said by luck alone: in at most 1 - confidence of the draws, if
its confidence is what it says; and `fails` as often, of the other side. The worlds of `PAIRS` compare two variants by
`--against`. The last but one line wishes for several measures at once, all at their bounds.

A cell is one measure, one side, one world at one n and one confidence. It is within if the 95 % Clopper-Pearson
interval of its share of passes begins at 1 - confidence or below. The last line's `ratio` is the share of such cells.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
from coverage import WORDS
from scipy.stats import beta
from worlds import FP32, SURE, W4, WORLDS, Model, World, labels, study, truths

from reliquant.measures.limits import limits_of
from reliquant.measures.rows import HEADLINE, rows
from reliquant.report.against import differences
from reliquant.report.choice import variants
from reliquant.report.gate import HOLDS, Line, by_bounds, checked, wishes_of, worst
from reliquant.report.recommend import Wish

CONFIDENCES = (0.95, 0.99)
SIZES = {200: 200, 1000: 200, 5000: 60}  # images: replications
SEVERAL = ("accuracy_change", "squared_ce_change", "agreement", "brier_change")
FEW = 0.005  # of right answers turn wrong in the variant
OWN: dict[str, World] = {
    "usual": World(suites=("clean", "ood")),
    "few flips": World((SURE, replace(SURE, flips=FEW))),
    "hardly any flip": World((SURE, replace(SURE, flips=FEW / 5))),
    **{name: WORLDS[name] for name in ("sharp, flat", "over-confident", "uneven", "nearly perfect")},
}
PAIRS: dict[str, tuple[Model, Model, Model]] = {  # FP32, a variant, and the one that it is compared with
    "two variants": (FP32, W4, replace(W4, mean=2.15, own=0.08)),
    "few differ": (SURE, replace(SURE, flips=FEW), SURE),
    "hardly any differs": (SURE, replace(SURE, flips=FEW / 5), SURE),
}
Pair = list[pl.DataFrame]
Cells = dict[tuple[str, ...], Counter[bool]]


def table(world: World, n: int, models: tuple[Model, ...], rng: np.random.Generator, resamples: int) -> pl.DataFrame:
    """Draw a study and return the rows of its variants, which are called s1, s2 and so on."""
    drawn, tables = study(world, labels(n, world.classes), models, rng), []
    for number, variant in enumerate(drawn[1:], 1):
        found = rows(variant, drawn[0], resamples=resamples, seed=int(rng.integers(2**31)))
        words = {name: pl.lit(word) for name, word in WORDS.items()} | {"scheme": pl.lit(f"s{number}")}
        none = {"seed": pl.lit(0, pl.Int64), "iteration": pl.lit(None, pl.Int64)}
        tables.append(found.with_columns(**words, **none))
    return pl.concat(tables)


def counted(cells: Cells, suite: str, measure: str, truth: float, judge: Callable[[Wish, float], Line]) -> Line:
    """Judge at each confidence that a measure is at least its true value, and at most; return the line of 0.95."""
    limits = limits_of(measure) or (None, None)
    asked, found = wishes_of([f"{suite}:{measure} >= {truth:.12g}"])[0], {}
    for confidence in CONFIDENCES:
        line = found[confidence] = judge(asked, confidence)
        most = line if line.low is None else by_bounds(line, replace(asked, sign=-1), line.low, line.high)
        for sign, one, limit in ((">=", line, limits[0]), ("<=", most, limits[1])):
            if truth == limit:
                continue  # true of whatever is measured
            cells[suite, measure, sign, f"{confidence:g}"][one.verdict == HOLDS] += 1
    return found[0.95]


def alone(name: str, n: int, replications: int, resamples: int, number: int) -> tuple[Cells, Counter[str]]:
    """Count how often wishes at the truth hold, by (measure, sign, confidence), and how several go together."""
    world, cells, together = OWN[name], defaultdict(Counter), Counter[str]()
    by_suite = defaultdict(list)
    for (suite, _, measure), value in truths(world, world.models, n, number).items():
        if measure.removesuffix("_change") in HEADLINE:
            by_suite[suite, measure].append(value)
    rng = np.random.default_rng([n, list(OWN).index(name)])
    for _ in range(replications):
        frame, words = table(world, n, world.models, rng, resamples), []
        variant = variants(frame, {}, [])

        def judge(one: Wish, confidence: float, frame: pl.DataFrame = frame, variant: pl.DataFrame = variant) -> Line:
            return checked(frame, one, variant, confidence=confidence)[0]

        for (suite, measure), values in by_suite.items():
            line = counted(cells, suite, measure, float(np.mean(values)), judge)
            words += [line.verdict] if measure in SEVERAL and suite == "clean" else []
        together[worst(words)] += 1
    return cells, together


def against(name: str, n: int, replications: int, resamples: int, number: int) -> Cells:
    """Count how often wishes for the true difference of two variants hold."""
    fp32, first, second = PAIRS[name]
    world, cells = (
        World((fp32, first), ("clean", "ood") if name == "two variants" else ("clean",)),
        defaultdict(Counter),
    )
    truth = [truths(world, (fp32, model), n, number) for model in (first, second)]
    gaps = defaultdict(list)
    for (suite, dataset, measure), value in truth[0].items():
        if measure in HEADLINE and not measure.startswith("flips"):
            gaps[suite, measure].append(value - truth[1][suite, dataset, measure])
    difference = {key: float(np.mean(values)) for key, values in gaps.items()}
    rng = np.random.default_rng([n, 100 + list(PAIRS).index(name)])
    for _ in range(replications):
        frame = table(world, n, PAIRS[name], rng, resamples)
        pair = [variants(frame, {}, [scheme]) for scheme in ("s1", "s2")]

        def judge(one: Wish, confidence: float, frame: pl.DataFrame = frame, pair: Pair = pair) -> Line:
            return differences(("a", frame), ("b", frame), one, pair, confidence=confidence)[0]

        for (suite, measure), value in difference.items():
            counted(cells, suite, f"{measure}_change", value, judge)
    return cells


def shown(kind: str, n: int, cells: Cells, every: list[tuple[float, bool]]) -> None:
    """Print the shares of cells that passed, by confidence, and those that are outside by name."""
    for confidence in map(str, CONFIDENCES):
        shares, outside = {}, []
        for key, counts in cells.items():
            if key[-1] != confidence:
                continue
            passed, number = counts[True], counts.total()
            least = beta.ppf(0.025, passed, number - passed + 1) if passed else 0.0
            within = least <= 1 - float(confidence) + 1e-9
            every.append((passed / number, within))
            shares[" ".join(key[:3])] = passed / number
            outside += [] if within else [f"{' '.join(key[:3])} {passed / number:.3f}"]
        most = max(shares, key=shares.__getitem__)
        told = f"{np.mean(list(shares.values())):.3f} | {shares[most]:.3f} ({most})"
        print(f"| {n} | {kind} | {confidence} | {len(shares)} | {told} | {'; '.join(outside)} |", flush=True)


def main() -> None:
    """Simulate, print a line for each world and confidence, and the share of cells within."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--worlds", nargs="+", default=[*OWN, *PAIRS], choices=[*OWN, *PAIRS])
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="a few replications of two worlds, to see that all runs")
    args = parser.parse_args()
    if args.quick:
        args.sizes, args.worlds, args.resamples = [200], ["few flips", "few differ"], 200
    start, every, whole = time.process_time(), list[tuple[float, bool]](), Counter[str]()
    print("| n | world | confidence | wishes | pass, on average | most | outside |")
    print("|---" * 7 + "|")
    for n in args.sizes:
        for name in args.worlds:
            given = (6, args.resamples, 20_000) if args.quick else (SIZES.get(n, 200), args.resamples, 400_000)
            if name in OWN:
                cells, together = alone(name, n, *given)
                whole += together
            else:
                cells = against(name, n, *given)
            shown(name, n, cells, every)
    told = ", ".join(f"{word} {count / whole.total():.3f}" for word, count in whole.items()) if whole else "none"
    print(f"\nwishes for {', '.join(SEVERAL)}, each at least the truth, at confidence 0.95 together: {told}")
    ratio, seconds = float(np.mean([within for _, within in every])), time.process_time() - start
    facts = {"name": "gate", "ratio": ratio, "target": 1.0, "better": "higher"}
    print(json.dumps({**facts, "cells": len(every), "cpu_s": round(seconds, 1)}))


if __name__ == "__main__":
    main()
