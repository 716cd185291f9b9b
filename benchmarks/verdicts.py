"""What readers decide by, in simulated studies: claims, stars of tables, and the confidence of recommendations.

`python benchmarks/verdicts.py [--studies 400]`. For each study (`simulated.py`: 48 variants of four models whose images
are shared) it draws

- a null study, in which each claim is false but as near to true as can be: parts that a claim joins with others hold
  strongly, its margin is reached exactly; a verdict `supported` is false (of claim 1 also studies in which few
  variants gain much and all others lose next to nothing: the larger share counts);
- alternative studies in which each claim is true at the effect that the page names as told (taken from the null
  studies); `supported` is right;
- a study in which nothing changed at all, whose main table should have no star;
- two studies whose variants differ as drawn, much and hardly, for the confidence of `recommend`.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from simulated import CLEAN, Study, rows, variants

from reliquant.report import claims
from reliquant.report.frames import Rows
from reliquant.report.recommend import recommend
from reliquant.report.tables import main as table
from reliquant.report.verdict import Finding, NotTestable
from reliquant.study.config import EQUIVALENCE

LEVEL, POWER, CALIBRATED, FEWEST = 0.05, 0.8, 0.1, 50
BINS = np.linspace(0, 1, 11)
WISHES = ["squared_ce_change <= 0.0003", "accuracy_change >= -0.01"]
UNITS = {" points²": 1e-4, " points": 0.01, " % relative": 0.01, " dB": 1.0}
GRID = variants()
Truth = dict[str, np.ndarray | float]


def being(**words: str) -> np.ndarray:
    """Return 1 for the variants with these words, else 0."""
    chosen = pl.lit(True)
    for column, word in words.items():
        chosen &= pl.col(column) == word
    return GRID.select(chosen).to_series().to_numpy().astype(float)


QAT = being(family="QAT (Contr.)") + being(family="Rot+LSQ")
LAION, WIT = (being(source=source) for source in ("laion", "wit"))
IMAGE, BOTH = (being(scope=scope) for scope in ("image", "both"))
FAMILIES = {8: ("Simple PTQ", "w8a8"), 9: ("QAT (Contr.)", "w8a8"), 10: ("Rot+LSQ", "w8a8")}
FAMILIES |= {11: ("Simple PTQ", "w4a8"), 12: ("Rot+LSQ", "w4a8")}


def null() -> Truth:
    """Return the truth of a null study: see above."""
    truth: Truth = {"shift:accuracy_change": EQUIVALENCE, "clean:accuracy_delta": claims.COLLAPSE}
    truth["spurious:vuln_add"] = EQUIVALENCE / 0.75 * being(family="Rot+LSQ", precision="w8a8")  # RSG is 0.75 of it
    truth["ood:auroc_change"] = 0.05  # 13 and 15 lack but calibration
    truth["clean:accuracy_change"] = 0.1 * QAT
    truth["tuned:squared_ce_change"] = -0.0016  # as FP32 gains by its own tuning: quantization does nothing
    return truth | {"band:0_8": 0.2, "band:64_end": -0.2}  # 14 lacks but its slope


def alternatives(told: Mapping[int, list[float]]) -> dict[tuple[int, ...], Callable[[np.random.Generator], Truth]]:
    """Return for groups of claims how to draw a truth in which each holds at the effect that the page names."""

    def directions(rng: np.random.Generator) -> Truth:
        del rng
        calibration = (told[2][0] * LAION + told[3][0] * WIT) * (IMAGE + BOTH) + told[4][0] * BOTH
        vuln = np.zeros(GRID.height)
        for number, (family, precision) in FAMILIES.items():
            if number != 10:  # as much as Vuln_add needs, and as RSG needs, which is 0.75 of it
                effect = max(told[number][0], told[number][1] / 0.75)
                vuln += effect * being(family=family, precision=precision)
        return {
            "native:squared_ce_change": calibration,
            "tuned:squared_ce_change": told[5][0],
            "both_tuned:squared_ce_change": told[5][1],
            "noise:accuracy_delta": -told[6][0],
            "shift:accuracy_change": told[7][0],
            "spurious:vuln_add": vuln,
            "slope": told[14][0],
            "band:0_8": told[14][1],
            "band:64_end": told[14][2],
            "clean:accuracy_delta": told[16][0],
        }

    def some_better(rng: np.random.Generator) -> Truth:
        better = np.full(GRID.height, -1.0)
        for precision in GRID["precision"].unique(maintain_order=True):
            at = np.flatnonzero(being(precision=precision))
            better[rng.permutation(at)[: round(0.4 * len(at))]] = 1
        return {"native:squared_ce_change": told[1][0] * better}

    def one_of(number: int, chosen: np.ndarray) -> Callable[[np.random.Generator], Truth]:
        def draw(rng: np.random.Generator) -> Truth:
            one = np.zeros(GRID.height)
            one[rng.choice(np.flatnonzero(chosen))] = 1
            names = ["native:squared_ce_change", "ood:auroc_change"]
            names = names if number == 13 else ["clean:accuracy_change", *names]
            return {name: effect * one for name, effect in zip(names, told[number], strict=True)}

        return draw

    every = np.ones(GRID.height)
    groups: dict[tuple[int, ...], Callable[[np.random.Generator], Truth]]
    groups = {(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16): directions, (1,): some_better}
    return groups | {(13,): one_of(13, every), (15,): one_of(15, QAT)}


def found(frame: Rows, number: int, margin: float = EQUIVALENCE) -> Finding:
    """Judge one claim."""
    try:
        return claims.CLAIMS[number - 1][3](frame, margin=margin)
    except NotTestable as reason:
        return Finding("not testable here", str(reason))


def named(told: str) -> list[float]:
    """Return the effects that the page names, as fractions."""
    effects = re.findall(r"([-+]?\d+\.\d+)( points²| points| % relative| dB)", told)
    return [float(number) * UNITS[unit] for number, unit in effects]


def nulls(rng: np.random.Generator, studies: int) -> tuple[dict[int, float], dict[int, list[float]]]:
    """Return how often each claim is falsely supported, and the effects that the page names (medians)."""
    false, told = np.zeros(17), {number: [] for number in range(1, 17)}
    for _ in range(studies):
        frame = Study(rng, null()).whole()
        for number in told:
            finding = found(frame, number)
            false[number] += finding.verdict == "supported"
            if finding.told:
                told[number].append(named(finding.told))
    medians = {number: np.median(effects, axis=0).tolist() for number, effects in told.items()}
    shares = {number: false[number] / studies for number in told}
    return shares | {1: max(shares[1], few_better(rng, studies, medians[1][0]))}, medians


def few_better(rng: np.random.Generator, studies: int, told: float) -> float:
    """Return how often claim 1 is supported where 3 of 48 variants gain much and all others lose next to nothing."""
    supported = 0
    for _ in range(studies):
        moved = np.where(rng.permutation(GRID.height) < 3, 3 * told, -0.05 * told)
        study = Study(rng, {"native:squared_ce_change": moved})
        supported += found(rows(study.calibration(("native",))), 1).verdict == "supported"
    return supported / studies


def powers(rng: np.random.Generator, studies: int, told: Mapping[int, list[float]]) -> dict[int, float]:
    """Return how often each claim is supported where it is true at the effect that the page names."""
    right = np.zeros(17)
    for numbers, draw in alternatives(told).items():
        for _ in range(studies):
            study = Study(rng, draw(rng))
            if len(numbers) > 1:
                frame = study.whole()
            else:
                clean = study.simple("clean", CLEAN, "accuracy_change")
                frame = rows([*clean, *study.calibration(("native",)), *study.detection()])
            for number in numbers:
                margin = max(told[10]) if number == 10 else EQUIVALENCE
                right[number] += found(frame, number, margin).verdict == "supported"
    return {number: right[number] / studies for number in range(1, 17)}


def starred(rng: np.random.Generator, studies: int) -> float:
    """Return in how many studies without any change the main table has a star."""
    with_stars = 0
    for _ in range(studies):
        shown = table.table(Study(rng).whole())
        names = [name for name in table.COLUMNS if name in shown.columns]
        cells = [str(cell) for line in shown.select(names).rows() for cell in line]
        plain = [re.sub(r"^\*\*(.*)\*\*$", r"\1", cell) for cell in cells]  # without the marks of a best cell
        with_stars += any("*" in cell for cell in plain)
    return with_stars / studies


def reliability(rng: np.random.Generator, studies: int) -> pl.DataFrame:
    """Return for each bin of confidence the number of recommendations, their mean confidence and the share right."""
    confidence, right = [], []
    for size in (1.0, 0.1):
        for _ in range(studies):
            four = being(precision="w4a8")
            loss = size * (rng.normal(rng.normal(-0.004, 0.006), 0.008, GRID.height) - 0.015 * four)
            moved = size * rng.normal(rng.normal(0.0002, 0.0004), 0.0008, GRID.height)
            study = Study(rng, {"clean:accuracy_change": loss, "native:squared_ce_change": moved})
            parts = [*study.simple("clean", CLEAN, "accuracy_change"), *study.sizes()]
            frame = rows([*parts, *study.calibration(("native",))])
            truth = frame.filter(suite="").select(pl.exclude("replicates"))
            true = {name: values + 0.0 for name, values in (("accuracy_change", loss), ("squared_ce_change", moved))}
            exact = [truth] + [_exact(frame, name, values) for name, values in true.items()]
            best = recommend(pl.concat(exact, how="diagonal_relaxed"), WISHES, draws=20)
            keys = ["model", "scheme", "precision", "scope"]
            named = recommend(frame, WISHES, draws=400).select(*keys, "confidence")
            hits = named.join(best.select(*keys, hit=pl.lit(1.0)), on=keys, how="left")["hit"].fill_null(0.0)
            confidence += named["confidence"].to_list()
            right += hits.to_list()
    values = pl.DataFrame({"confidence": confidence, "right": right})
    number = np.clip(np.digitize(values["confidence"].to_numpy(), BINS) - 1, 0, 9)
    means = (
        values.with_columns(bin=pl.Series(number)).group_by("bin").agg(pl.len(), pl.col("confidence", "right").mean())
    )
    return means.sort("bin")


def _exact(frame: pl.DataFrame, measure: str, values: np.ndarray) -> pl.DataFrame:
    """Return rows of a measure on one set with the true values, which follow the order of the variants."""
    own = frame.filter(suite="clean", measure=measure, dataset="a").drop("replicates")
    return own.with_columns(value=pl.Series(values))


def main() -> None:
    """Simulate, print the tables and the share of targets that are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start, rng = time.process_time(), np.random.default_rng(args.seed)
    allowed = LEVEL + 2 * np.sqrt(LEVEL * (1 - LEVEL) / args.studies)  # with the error of so many studies
    false, told = nulls(rng, args.studies)
    power = powers(rng, args.studies, told)
    met = []
    print(f"{'claim':62} {'false':>6} {'power':>6}  at")
    for number, (text, *_) in enumerate(claims.CLAIMS, 1):
        met += [false[number] <= allowed, power[number] >= POWER]
        effects = ", ".join(f"{effect:+.4f}" for effect in told[number])
        print(f"{f'{number:2} {text}':62} {false[number]:6.3f} {power[number]:6.3f}  {effects}")
    stars = starred(rng, args.studies)
    met.append(stars <= allowed)
    print(f"\nmain tables of studies without a change that have a star: {stars:.3f}\n")
    print(f"{'confidence':>10} {'right':>6} {'recommended':>12}")
    for line in reliability(rng, args.studies).iter_rows(named=True):
        print(f"{line['confidence']:10.2f} {line['right']:6.2f} {line['len']:12}")
        if line["len"] >= FEWEST:
            met.append(abs(line["confidence"] - line["right"]) <= CALIBRATED)
    seconds = time.process_time() - start
    print(f"\nfalse support allowed {allowed:.3f}; power asked {POWER}; {seconds:.0f} s of processor time")
    facts = {"name": "verdicts", "ratio": float(np.mean(met)), "target": 1.0, "better": "higher"}
    print(json.dumps({**facts, "targets": len(met), "studies": args.studies, "cpu_s": round(seconds, 1)}))


if __name__ == "__main__":
    main()
