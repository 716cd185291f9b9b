"""Time every measure with its interval on a 50,000 x 1,000 table against torchmetrics, scikit-learn and scipy.

The other side computes accuracy, top-5 accuracy, ECE, MCE, NLL, Brier score and the AUROC of misclassification with
torchmetrics and scikit-learn, and 95 % percentile intervals of all but MCE with scipy.stats.bootstrap, from per-image
values, as a careful user would (never from the table). It runs `--theirs` resamples, and the time of its intervals is
extrapolated in proportion to ours; the table printed says so. Our side computes those, and eleven measures more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tracemalloc

import numpy as np
import torch
from peers import require
from scipy.stats import bootstrap
from sklearn.metrics import log_loss, roc_auc_score

from reliquant.evaluation.measure import measure_probabilities
from reliquant.measures.calibration import brier_scores
from reliquant.models import openclip  # noqa: F401, torchmetrics imports torchvision

TARGET = 5.0


def table(n: int, c: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    label = rng.permutation(np.arange(n) % c)
    p = rng.normal(size=(n, c)).astype(np.float32) * 2
    p[np.arange(n), label] += 7
    np.exp(p, out=p)
    p /= p.sum(axis=1, keepdims=True)
    return p, label


def ece(confidence: np.ndarray, correct: np.ndarray) -> float:
    index = np.ceil(confidence * 15).astype(int) - 1
    return float(np.abs(np.bincount(index, confidence - correct, minlength=15)).sum() / len(index))


def theirs(p: np.ndarray, label: np.ndarray, resamples: int) -> tuple[float, float]:
    """Return the seconds of the values and of the intervals."""
    from torchmetrics.functional import classification as tm

    start = time.perf_counter()
    c = p.shape[1]
    pt, yt = torch.from_numpy(p), torch.from_numpy(label)
    tm.multiclass_accuracy(pt, yt, c, average="micro")
    tm.multiclass_accuracy(pt, yt, c, average="micro", top_k=5)
    tm.multiclass_accuracy(pt, yt, c, average="macro")
    for norm in ("l1", "max"):
        tm.multiclass_calibration_error(pt, yt, c, n_bins=15, norm=norm)
    log_loss(label, p, labels=np.arange(c))
    brier = brier_scores(p, label)
    confidence, prediction = p.max(axis=1).astype(float), p.argmax(axis=1)
    right = (prediction == label).astype(float)
    roc_auc_score(right, confidence)
    values = time.perf_counter() - start
    own = p[np.arange(len(p)), label]
    top5 = ((p > own[:, None]).sum(axis=1) < 5).astype(float)
    start = time.perf_counter()
    knobs = {"n_resamples": resamples, "method": "percentile", "batch": 10, "rng": np.random.default_rng(0)}
    for per_image in (right, top5, -np.log(own), brier, confidence - right):
        bootstrap((per_image,), np.mean, **knobs)
    for f in (ece, lambda conf, correct: roc_auc_score(correct, conf)):
        bootstrap((confidence, right), f, paired=True, vectorized=False, **{**knobs, "batch": 1})
    return values, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--theirs", type=int, default=50, help="resamples of the other side, extrapolated")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    require("measures", "torchmetrics")
    p, label = table(args.images, args.classes)
    ours, values, intervals = [], [], []
    theirs(p[:1000], label[:1000] % args.classes, 2)  # imports and first calls
    measure_probabilities(p[:1000], label[:1000], resamples=10)
    for _ in range(args.rounds):
        start = time.perf_counter()
        found = measure_probabilities(p, label, resamples=args.resamples)
        ours.append(time.perf_counter() - start)
        a, b = theirs(p, label, args.theirs)
        values.append(a)
        intervals.append(b * args.resamples / args.theirs)
    tracemalloc.start()
    measure_probabilities(p, label, resamples=args.resamples)
    memory = (p.nbytes + tracemalloc.get_traced_memory()[1]) / p.nbytes
    tracemalloc.stop()
    mine, other, drawn = (statistics.median(x) for x in (ours, values, intervals))
    print(f"{args.images} x {args.classes} table ({p.nbytes / 2**20:.0f} MiB), {args.resamples} resamples")
    print(f"{'side':44} {'seconds':>10}")
    print(f"{f'reliquant, {len(found)} measures, all intervals':44} {mine:10.2f}")
    print(f"{'others, 8 measures, values':44} {other:10.2f}")
    print(f"{f'others, 7 intervals (extrapolated from {args.theirs})':44} {drawn:10.2f}")
    print(f"peak memory, the table included: {memory:.2f} x the table (at most 1.5)")
    medians = {"reliquant_s": mine, "others_values_s": other, "others_intervals_extrapolated_s": drawn}
    facts = {"name": "measures", "ratio": (other + drawn) / mine, "target": TARGET, "better": "higher"}
    print(json.dumps({**facts, "medians": medians, "memory_ratio": memory, "resamples_of_others": args.theirs}))


if __name__ == "__main__":
    main()
