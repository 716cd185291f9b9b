"""The 16 claims of the paper (arXiv 2509.21173) as code over rows: verdict, effect with interval, n, rows used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy.stats import linregress

from reliquant.measures import stats
from reliquant.report import frames
from reliquant.report.frames import VARIANT, Rows
from reliquant.report.sources import Kind, judged
from reliquant.report.verdict import (
    Finding,
    NotTestable,
    Word,
    by_sign,
    effect,
    joined,
    most_bits,
    runs_of,
    share,
    significant,
)

SHARE = (0.3, 0.5)  # "about 40 %"
COLLAPSE = 0.2  # share of the FP32 accuracy lost
FIRST_BAND, LAST_BAND = r"^accuracy_rank_0_\d+_change$", r"^accuracy_rank_\d+_end_change$"
POINTS, SHARES = "fraction", "relative change"


def judge(rows: Rows, /) -> list[dict[str, Any]]:
    """Judge every claim; return for each its number, words, the paper's figure and mark, and its Finding.

    The verdict is `supported`, `contradicted`, `mixed` or `not testable here`; `why` says what decided it. Sources
    count as noisy or curated by how their names begin (`sources.judged`), families by `verdict.kind`. Figures are
    rounded to nine decimals, because parallel sums differ in the last one from run to run.
    """
    verdicts = []
    for number, (claim, figure, mark, test) in enumerate(CLAIMS, 1):
        try:
            finding = test(rows)
        except NotTestable as reason:
            finding = Finding("not testable here", str(reason))
        shown = {"number": number, "claim": claim, "paper": figure, "mark": mark}
        verdicts.append(shown | {k: round(v, 9) if isinstance(v, float) else v for k, v in asdict(finding).items()})
    return verdicts


def share_better(rows: Rows) -> Finding:
    """Claim 1: count runs (a variant on a set) with lower ECE at 8 bits."""
    runs = frames.quantized(frames.select(rows, "ece_change")).filter(pl.col("precision") == "w8a8")
    if runs.is_empty():
        raise NotTestable("no W8A8 rows of ece_change on a clean set")
    better, n = share(runs["value"] < 0), runs.height
    low, high = stats.wilson(better, better * (1 - better) / n, n)
    inside, apart = SHARE[0] <= better <= SHARE[1], high < SHARE[0] or low > SHARE[1]
    why = f"{better:.0%} of {n} runs have a lower ECE; 'about 40 %' is read as {SHARE[0]:.0%} to {SHARE[1]:.0%}"
    verdict: Word = "supported" if inside else "contradicted" if apart else "mixed"
    images = int(runs["n"].sum())
    used = {"suite": "clean", "measure": "ece_change", "precision": "w8a8"}
    return Finding(verdict, why, better, low, high, "share of runs", n, images, used)


def ece_of_sources(rows: Rows, *, of: Kind, sign: int) -> Finding:
    """Claims 2 and 3: the sign of the relative change of ECE of one kind of sources, with the image tower quantized."""
    sources = judged(of)
    runs = runs_of(rows, "ece_relative_change", sources=sources)
    scope = "image" if "image" in runs["scope"] else "both"  # the text tower is claim 4
    used = {"suite": "clean", "measure": "ece_relative_change", "source": list(sources), "scope": scope}
    return by_sign(runs.filter(scope=scope), sign, unit=SHARES, **used)


def text_tower(rows: Rows) -> Finding:
    """Claim 4: relative change of ECE with both towers quantized minus that with the image tower alone, by variant."""
    both, image = (runs_of(rows, "ece_relative_change", scope=s) for s in ("both", "image"))
    pairs = both.join(image, on=[v for v in VARIANT if v != "scope"], how="inner", suffix="_image")
    if pairs.is_empty():
        raise NotTestable("no variant has both scopes")
    half = (((pl.col("high") - pl.col("low")) ** 2 + (pl.col("high_image") - pl.col("low_image")) ** 2).sqrt()) / 2
    gap = pl.col("value") - pl.col("value_image")
    runs = pairs.select(*VARIANT, value=gap, low=gap - half, high=gap + half, n="n")
    return by_sign(runs, 1, unit=SHARES, suite="clean", measure="ece_relative_change", scope=["both", "image"])


def tuned(rows: Rows) -> Finding:
    """Claim 5: ECE of variants with both towers quantized and the logit scale tuned, against FP32."""
    runs = runs_of(rows, "ece_change", scale="tuned", scope="both")
    return by_sign(runs, -1, unit=POINTS, suite="clean", measure="ece_change", scale="tuned", scope="both")


def noise(rows: Rows) -> Finding:
    """Claim 6: relative change of accuracy under corruptions at the most bits."""
    bits = most_bits(rows, suite="noise")
    runs = runs_of(rows, "accuracy_delta", suite="noise", bits=bits)
    runs = runs.with_columns(value=-pl.col("value"), low=-pl.col("high"), high=-pl.col("low"))
    return by_sign(runs, 1, unit=SHARES, suite="noise", corruption="mean", measure="accuracy_delta", bits=bits)


def shift(rows: Rows) -> Finding:
    """Claim 7: accuracy on shifted sets does not rise, at the most bits."""
    bits = most_bits(rows, suite="shift")
    runs = runs_of(rows, "accuracy_change", suite="shift", bits=bits)
    mean, rise = effect(runs), share(runs["value"] > 0)
    better = mean["low"] is not None and mean["low"] > 0
    verdict: Word = "contradicted" if better and rise > 1 / 3 else "mixed" if better or rise > 1 / 2 else "supported"
    why = f"accuracy rises in {rise:.0%} of {runs.height} runs; their mean {'is' if better else 'is not'} above 0"
    used = {"suite": "shift", "measure": "accuracy_change", "bits": bits}
    return Finding(verdict, why, **mean, unit=POINTS, rows=used)


def spurious(rows: Rows, *, kind: str, bits: float, rises: bool = True) -> Finding:
    """Claims 8 to 12: Vuln_add and the change of RSG rise, or stay within their intervals."""
    vuln_add = by_sign(_spurious_runs(rows, "vuln_add", kind, bits), 1, unit=POINTS)
    rsg_change = by_sign(_spurious_runs(rows, "rsg_change", kind, bits), 1, unit=POINTS)
    if rises:
        verdict: Word = vuln_add.verdict if vuln_add.verdict == rsg_change.verdict else "mixed"
    else:
        still = [one.low is None or one.high is None or one.low <= 0 <= one.high for one in (vuln_add, rsg_change)]
        verdict = "supported" if all(still) else "mixed" if any(still) else "contradicted"
    why = f"Vuln_add {vuln_add.value:+.2%} ({vuln_add.why}); change of RSG {rsg_change.value:+.2%} ({rsg_change.why})"
    used = {"suite": "spurious", "measure": ["vuln_add", "rsg_change"], "kind": kind, "bits": bits}
    return replace(vuln_add, verdict=verdict, why=why, rows=used)


def ood_despite_ece(rows: Rows) -> Finding:
    """Claim 13: among variants whose ECE is worse, some whose AUROC is better."""
    runs = joined([("auroc", runs_of(rows, "auroc_change", suite="ood")), ("ece", runs_of(rows, "ece_change"))])
    worse = runs.filter(significant(runs, "ece", 1))
    if worse.is_empty():
        raise NotTestable("no variant has a significantly worse ECE")
    return _existence(
        worse, {"auroc": 1}, "variants with a worse ECE", suite=["ood", "clean"], measure=["auroc_change", "ece_change"]
    )


def gains_together(rows: Rows) -> Finding:
    """Claim 15: some QAT variants gain accuracy, ECE and OOD detection together."""
    qat = ("qat", "qat+mse", "rotation")
    parts = [("accuracy", "accuracy_change", "clean"), ("ece", "ece_change", "clean"), ("auroc", "auroc_change", "ood")]
    runs = joined((name, runs_of(rows, measure, suite=suite, kinds=qat)) for name, measure, suite in parts)
    signs = {"accuracy": 1, "ece": -1, "auroc": 1}
    return _existence(
        runs, signs, "QAT variants", suite=["clean", "ood"], measure=[m for _, m, _ in parts], kind=list(qat)
    )


def spectrum(rows: Rows) -> Finding:
    """Claim 14: SQNR falls with rank; QAT classifies better from ranks 0-8 and worse from 64 on."""
    sqnr = frames.quantized(frames.matching(rows, r"^sqnr_rank_\d+$"))
    if sqnr["measure"].n_unique() < 3:
        raise NotTestable("no SQNR by rank (measures sqnr_rank_<r>) in the rows")
    ranks = sqnr["measure"].str.extract(r"(\d+)$").cast(pl.Float64).to_numpy()
    line = linregress(np.log10(1 + ranks), sqnr["value"].to_numpy())
    half = 1.96 * line.stderr
    slope: Word = "supported" if line.slope + half < 0 else "contradicted" if line.slope - half > 0 else "mixed"
    first, last = _band(rows, FIRST_BAND, 1), _band(rows, LAST_BAND, -1)
    why = f"SQNR changes by {line.slope:+.1f} dB a tenfold rank; QAT at ranks {first.edges}: {first.finding.verdict}, "
    why += f"{last.edges}: {last.finding.verdict}"
    words = {slope, first.finding.verdict, last.finding.verdict}
    return Finding(
        words.pop() if len(words) == 1 else "mixed",
        why,
        value=line.slope,
        low=line.slope - half,
        high=line.slope + half,
        unit="dB a decade of rank",
        runs=sqnr.select(VARIANT).n_unique(),
        images=int(sqnr["n"].to_numpy().max()),
        rows={"suite": "explain", "measure": ["sqnr_rank_*", "accuracy_rank_*_change"]},
    )


class Band(NamedTuple):
    """A band of ranks: its edges in words, and the verdict on what QAT classifies from it."""

    edges: str
    finding: Finding


def _band(rows: Rows, pattern: str, sign: int) -> Band:
    """Judge QAT's change of accuracy from a band of ranks; in narrow embeddings the edges are lower."""
    changes = frames.matching(rows, pattern)
    edges = sorted(changes["measure"].str.extract(r"rank_(\d+_(?:\d+|end))_").unique())
    said = " and ".join(e.replace("_end", " on").replace("_", "-") for e in edges)
    runs = runs_of(changes.with_columns(measure=pl.lit("change")), "change", suite="explain", kinds=("qat", "qat+mse"))
    return Band(said, by_sign(runs, sign, unit=POINTS))


def collapse(rows: Rows) -> Finding:
    """Claim 16: simple QAT at 4 bits loses more than a fifth of its accuracy."""
    runs = runs_of(rows, "accuracy_delta", kinds=("qat",), bits=4.0)
    mean = effect(runs)
    low, high = (mean["value"] if end is None else end for end in (mean["low"], mean["high"]))
    verdict: Word = "supported" if low > COLLAPSE else "contradicted" if high < COLLAPSE else "mixed"
    lost = share(runs["value"] > COLLAPSE)
    why = f"{lost:.0%} of {runs.height} runs lose more than {COLLAPSE:.0%} of the FP32 accuracy, read as a collapse"
    used = {"suite": "clean", "measure": "accuracy_delta", "kind": "qat", "bits": 4}
    return Finding(verdict, why, **mean, unit=SHARES, rows=used)


def _existence(runs: pl.DataFrame, signs: dict[str, int], who: str, **used: Any) -> Finding:
    """Judge whether some run moves in all columns of `signs` to the side that they say."""
    tests = runs.height
    proven = np.logical_and.reduce([significant(runs, c, s, tests=tests).to_numpy() for c, s in signs.items()])
    seeming = np.logical_and.reduce([(runs[c] * s > 0).to_numpy() for c, s in signs.items()])
    verdict: Word = "supported" if proven.any() else "mixed" if seeming.any() else "contradicted"
    why = f"of {tests} {who}, {int(proven.sum())} gain significantly (corrected for {tests} tests)"
    why += f", {int(seeming.sum())} nominally"
    gaining, images = float(proven.mean()), int(runs[f"{next(iter(signs))}_n"].to_numpy().max())
    low, high = stats.wilson(gaining, gaining * (1 - gaining) / tests, tests)
    return Finding(verdict, why, gaining, low, high, "share of variants", tests, images, used)


def _spurious_runs(rows: Rows, measure: str, kind: str, bits: float) -> pl.DataFrame:
    return runs_of(rows, measure, suite="spurious", kinds=(kind,), bits=bits)


Claim = tuple[str, str, str, Callable[[Rows], Finding]]
CLAIMS: tuple[Claim, ...] = (
    ("Some W8A8 runs have a better ECE", "about 40 %", "N", share_better),
    ("Noisy sources (LAION): ECE rises", "+49 % relative", "N", partial(ece_of_sources, of="noisy", sign=1)),
    ("Curated sources (WIT, DFN): ECE falls", "sign", "S", partial(ece_of_sources, of="curated", sign=-1)),
    ("Quantizing the text tower too raises ECE", "up to +98 %", "N", text_tower),
    ("Full quantization, logit scale tuned, beats the ECE of FP32", "6.9 % to 1.1 %", "N", tuned),
    ("Robustness to noise improves", "+8.9 % relative", "N", noise),
    ("Covariate-shifted sets do not improve", "sign", "S", shift),
    ("RSG and Vuln_add, W8A8 simple PTQ: rise", "+2.6***/+3.0***", "N", partial(spurious, kind="ptq", bits=8.0)),
    ("... W8A8 QAT (Contr.): rise", "+1.6***/+1.9***", "N", partial(spurious, kind="qat", bits=8.0)),
    ("... W8A8 Rot+LSQ: do not change", "-0.1/-0.2 ns", "N", partial(spurious, kind="rotation", bits=8.0, rises=False)),
    ("... W4A8 simple PTQ: rise", "+12.5***/+10.3***", "N", partial(spurious, kind="ptq", bits=4.0)),
    ("... W4A8 Rot+LSQ: rise", "+4.0***/+4.4***", "N", partial(spurious, kind="rotation", bits=4.0)),
    ("OOD AUROC gains also where ECE worsens", "existence", "S", ood_despite_ece),
    ("SQNR falls with rank; QAT better at ranks 0-8, worse from 64", "shape", "N", spectrum),
    ("Some QAT methods gain accuracy, ECE and OOD detection together", "existence", "S", gains_together),
    ("Simple QAT collapses at 4 bits", "shape", "S", collapse),
)  # fmt: skip
