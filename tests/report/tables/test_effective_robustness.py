import re

import numpy as np
import polars as pl
import pytest
from scipy.special import expit, logit

from reliquant.files.artifacts import KEPT, ROW_SCHEMA
from reliquant.measures import resampling, shift
from reliquant.report.tables.effective_robustness import table

ROW = {"study": "s", "source": "x", "scope": "both", "proxy": "", "seed": 0, "reference": "c", "group": ""} | {
    "corruption": "", "severity": 0, "scale": "native", "score": "", "n": 1000
}  # fmt: skip
PLACES = (("clean", "c"), ("shift", "h"))
MODELS, VARIANTS, SHIFT = (0.3, 1.0, 1.8), (0.2, 0.0, 1.0), 0.8  # strengths of FP32 and of one variant of each


def row(model, scheme, place, measure, value, half, replicates=None):
    suite, dataset = PLACES[place]
    of = {"model": model, "scheme": scheme, "family": scheme, "precision": "fp32" if scheme == "fp32" else "w8a8"}
    ends = {"low": value - half, "high": value + half, "replicates": replicates}
    return ROW | of | {"suite": suite, "dataset": dataset, "measure": measure, "value": value} | ends


def ends_of(cell):
    """Return value, low and high of a written cell, as fractions."""
    return [float(x) / 100 for x in re.findall(r"[-+]?\d+\.\d", cell)]


def test_the_noise_of_the_clean_change_counts_by_the_slope_of_the_line():
    halves, of = (0.0, 0.0), {"fp32": (0.8, 0.7), "q": (0.7, 0.6)}
    frame = [row("m", s, i, "accuracy", v[i], halves[i]) for s, v in of.items() for i in (0, 1)]
    frame += [row("other", "fp32", i, "accuracy", v, 0.0) for i, v in enumerate((0.6, 0.5))]
    line = logit([0.6, 0.8]), logit([0.5, 0.7])
    tilt = float((line[1][1] - line[1][0]) / (line[0][1] - line[0][0]))
    predicted = expit(line[1][0] + tilt * (logit(0.7) - line[0][0]))
    slope = tilt * predicted * (1 - predicted) / (0.7 * 0.3)
    for shifted, clean, half in ((0.0, 0.05, slope * 0.05), (0.04, 0.0, 0.04), (0.04, 0.05, 0.04 + slope * 0.05)):
        changes = [row("m", "q", i, "accuracy_change", -0.1, h) for i, h in ((0, clean), (1, shifted))]
        found = table(pl.DataFrame(frame + changes, schema=ROW_SCHEMA)).filter(scheme="q")["change"][0]
        value, low, high = ends_of(found)  # without replicates half-widths are added
        assert value == pytest.approx(0.6 - predicted, abs=6e-4)  # FP32 models lie on the line
        assert (value - low, high - value) == (pytest.approx(half, abs=1.1e-3), pytest.approx(half, abs=1.1e-3))


def test_what_clean_and_shifted_changes_share_moves_together():
    move = np.random.default_rng(0).normal(0, 0.02, KEPT)
    frame = [row("m", s, i, "accuracy", v, 0.0) for s, a in (("fp32", 0.8), ("q", 0.7)) for i, v in enumerate((a, a))]
    frame += [row("other", "fp32", i, "accuracy", 0.6, 0.0) for i in (0, 1)]  # the line is shifted = clean
    for sign, wide in ((1, 0.0), (-1, 0.08)):
        moves = [row("m", "q", i, "accuracy_change", -0.1, 0.04, (s * move).tolist()) for i, s in ((0, 1), (1, sign))]
        found = table(pl.DataFrame(frame + moves, schema=ROW_SCHEMA)).filter(scheme="q")["change"][0]
        value, low, high = ends_of(found)
        assert (value, (high - low) / 2) == (pytest.approx(0.0, abs=6e-4), pytest.approx(wide, abs=2e-3))


def study(rng, n=1000):
    """Return rows of FP32 models and a variant of each, all of which err by chance as true models of one line do."""
    keys = [rng.integers(0, 2**63, n).astype(np.uint64) for _ in PLACES]
    weights = [resampling.weights(key, np.zeros(n, np.int64)) for key in keys]
    ease, luck = rng.standard_normal((2, n)), rng.random((2, n))
    lines = []

    def add(model, scheme, place, measure, right):
        value, error = right.mean(), right.std() / n**0.5
        replicates = resampling.linear(value, right - value, weights[place])
        lines.append(row(model, scheme, place, measure, value, 1.96 * error, replicates))

    for i, strengths in enumerate(zip(MODELS, VARIANTS, strict=True)):
        for place in (0, 1):
            chance = [expit(s - place * SHIFT + 1.2 * ease[place]) for s in strengths]
            own = np.where(rng.random(n) < 0.05, rng.random(n), luck[place])
            right = [(luck[place] < chance[0]).astype(float), (own < chance[1]).astype(float)]
            add(f"m{i}", "fp32", place, "accuracy", right[0])
            add(f"m{i}", f"q{i}", place, "accuracy", right[1])
            add(f"m{i}", f"q{i}", place, "accuracy_change", right[1] - right[0])
    return pl.DataFrame(lines, schema=ROW_SCHEMA)


def test_intervals_of_the_change_hold_the_truth():
    ease = np.random.default_rng(0).standard_normal(200_000)

    def true(strengths, place):
        return np.array([expit(s - place * SHIFT + 1.2 * ease).mean() for s in strengths])

    fp32, own = ([true(s, place) for place in (0, 1)] for s in (MODELS, VARIANTS))
    change = shift.effective_robustness(*own, *fp32) - shift.effective_robustness(*fp32, *fp32)
    rng, held = np.random.default_rng(1), []
    for _ in range(50):
        found = table(study(rng)).filter(pl.col("scheme") != "fp32").sort("scheme")["change"]
        ends = [ends_of(cell)[1:] for cell in found]
        held += [low - 5e-4 <= value <= high + 5e-4 for (low, high), value in zip(ends, change, strict=True)]
    assert np.mean(held) >= 0.93  # 0.88 where the noise of the clean change is left out
