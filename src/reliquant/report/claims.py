"""The 16 claims of the paper (arXiv 2509.21173) as code over rows: verdict, effect with interval, n, rows used.

What is claimed of the ECE is judged by the debiased squared calibration error, whose changes have intervals that hold;
the published ECE is said beside it. `docs/measures.md` has the rules.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import polars as pl

from reliquant.report import evidence, frames
from reliquant.report.averages import replicated, table_of
from reliquant.report.common_sets import common, left_too, named, some_of
from reliquant.report.existence import Gain, about, absent, some
from reliquant.report.frames import VARIANT, Rows
from reliquant.report.slope import of_ranks
from reliquant.report.sources import Kind, judged
from reliquant.report.verdict import (
    Finding,
    NotTestable,
    by_sign,
    joined,
    most_bits,
    over_sets,
    runs_of,
    together,
    unchanged,
    written,
)
from reliquant.study.config import EQUIVALENCE

COLLAPSE = 0.2  # share of the FP32 accuracy lost
FIRST_BAND, LAST_BAND = r"^accuracy_rank_0_\d+_change$", r"^accuracy_rank_\d+_end_change$"
POINTS, SHARES, SQUARES = "fraction", "relative change", "squared error"
CHANGE = "squared_ce_change"  # what verdicts on calibration rest on


def judge(rows: Rows, /, *, equivalence: float = EQUIVALENCE) -> list[dict[str, Any]]:
    """Judge every claim; return for each its number, words, the paper's figure and mark, the margin, and its Finding.

    The verdict is `supported`, `contradicted`, `mixed`, `too small to tell` or `not testable here`; `why` says what
    decided it. Changes within `equivalence` (a fraction: points, or relative) are read as none. Sources count as noisy
    or curated by how their names begin (`sources.judged`), families by `verdict.kind`. Figures are rounded to nine
    decimals, because parallel sums differ in the last one from run to run.
    """
    verdicts = []
    for number, (claim, figure, mark, test) in enumerate(CLAIMS, 1):
        try:
            finding = test(rows, margin=equivalence)
        except NotTestable as reason:
            finding = Finding("not testable here", str(reason))
        shown = {"number": number, "claim": claim, "paper": figure, "mark": mark, "equivalence": equivalence}
        verdicts.append(shown | {k: round(v, 9) if isinstance(v, float) else v for k, v in asdict(finding).items()})
    return verdicts


def share_better(rows: Rows, *, margin: float) -> Finding:
    """Claim 1: the share of runs (a variant on a set) that are better calibrated at 8 bits."""
    del margin  # a share is told from the runs that are proven
    runs = frames.quantized(frames.select(rows, CHANGE)).filter(pl.col("precision") == "w8a8")
    if runs.is_empty():
        raise NotTestable(f"no W8A8 rows of {CHANGE} on a clean set")
    return about(runs, -1, unit=SQUARES, suite="clean", measure=CHANGE, precision="w8a8")


def ece_of_sources(rows: Rows, *, of: Kind, sign: int, margin: float) -> Finding:
    """Claims 2 and 3: calibration of one kind of sources, with the image tower quantized."""
    sources = judged(of)
    runs = runs_of(rows, CHANGE, sources=sources)
    scope = "image" if "image" in runs["scope"] else "both"  # the text tower is claim 4
    used: dict[str, Any] = {
        "suite": "clean",
        "measure": [CHANGE, "ece_relative_change"],
        "source": list(sources),
        "scope": scope,
    }
    finding = by_sign(runs.filter(scope=scope), sign, unit=SQUARES, margin=_squared(rows, margin), **used)
    return _with_published(finding, rows, "ece_relative_change", SHARES, sources=sources, scope=scope)


def text_tower(rows: Rows, *, margin: float) -> Finding:
    """Claim 4: calibration with both towers quantized minus that with the image tower alone, by variant.

    They are subtracted on each set before sets are averaged; what only one scope has is left out and named.
    """
    both, image = (runs_of(rows, CHANGE, scope=s, by=("dataset",)) for s in ("both", "image"))
    on = [*(v for v in VARIANT if v != "scope"), "dataset"]
    pairs = evidence.paired(both, image, on)
    if pairs.is_empty():
        raise NotTestable("no variant has both scopes on one set")
    runs = over_sets(pairs.with_columns(scope=pl.lit("both"), measure=pl.lit(CHANGE)))
    runs = left_too(runs, _alone(both, image, on))
    used: dict[str, Any] = {"suite": "clean", "measure": CHANGE, "scope": ["both", "image"]}
    return by_sign(runs, 1, unit=SQUARES, margin=_squared(rows, margin), **used)


def tuned(rows: Rows, *, margin: float) -> Finding:
    """Claim 5: calibration of variants with both towers quantized and the logit scale tuned, against FP32.

    Where FP32 was tuned too, it must also be better than that: else tuning did it, and not quantization.
    """
    words: dict[str, Any] = {"unit": SQUARES, "margin": _squared(rows, margin), "parts": 2}
    used: dict[str, Any] = {
        "suite": "clean",
        "measure": [CHANGE, "ece_change"],
        "scale": ["tuned", "both_tuned"],
        "scope": "both",
    }
    parts = {"against FP32 as it is": by_sign(runs_of(rows, CHANGE, scale="tuned", scope="both"), -1, **words)}
    try:
        runs = runs_of(rows, CHANGE, scale="both_tuned", scope="both")
    except NotTestable:
        found = next(iter(parts.values()))
        why = f"{found.why}; FP32 was not tuned, so that tuning and quantization are not told apart"
        found = replace(found, why=why, rows=used)
    else:
        found = together(parts | {"against FP32 tuned likewise": by_sign(runs, -1, **words)}, **used)
    return _with_published(found, rows, "ece_change", POINTS, scale="tuned", scope="both")


def noise(rows: Rows, *, margin: float) -> Finding:
    """Claim 6: relative change of accuracy under corruptions at the most bits."""
    bits = most_bits(rows, suite="noise")
    runs = _turned(runs_of(rows, "accuracy_delta", suite="noise", bits=bits))
    used: dict[str, Any] = {"suite": "noise", "corruption": "mean", "measure": "accuracy_delta", "bits": bits}
    return by_sign(runs, 1, unit=SHARES, margin=margin, **used)


def shift(rows: Rows, *, margin: float) -> Finding:
    """Claim 7: accuracy on shifted sets does not rise by more than the margin, at the most bits."""
    bits = most_bits(rows, suite="shift")
    runs = runs_of(rows, "accuracy_change", suite="shift", bits=bits)
    used: dict[str, Any] = {"suite": "shift", "measure": "accuracy_change", "bits": bits}
    return by_sign(runs, -1, unit=POINTS, beyond=margin, **used)


def spurious(rows: Rows, *, kind: str, bits: float, margin: float, rises: bool = True) -> Finding:
    """Claims 8 to 12: Vuln_add and the change of RSG rise, or stay within the margin."""
    used: dict[str, Any] = {"suite": "spurious", "measure": ["vuln_add", "rsg_change"], "kind": kind, "bits": bits}
    parts = {}
    for name, measure in (("Vuln_add", "vuln_add"), ("change of RSG", "rsg_change")):
        runs = runs_of(rows, measure, suite="spurious", kinds=(kind,), bits=bits)
        words: dict[str, Any] = {"unit": POINTS, "margin": margin, "parts": 2}
        parts[name] = by_sign(runs, 1, **words) if rises else unchanged(runs, **words)
    return together(parts, **used)


def ood_despite_ece(rows: Rows, *, margin: float) -> Finding:
    """Claim 13: some variants whose calibration is worse detect better."""
    gains = {"calibration": Gain(1, _squared(rows, margin), SQUARES), "AUROC": Gain(1, margin, POINTS)}
    parts = [("AUROC", runs_of(rows, "auroc_change", suite="ood")), ("calibration", runs_of(rows, CHANGE))]
    runs = joined(parts)
    if absent(runs, "calibration", gains["calibration"]):
        raise NotTestable("every variant is proven not to be calibrated worse than FP32")
    used: dict[str, Any] = {"suite": ["ood", "clean"], "measure": ["auroc_change", CHANGE]}
    return _with_left(some(runs, gains, "variants", **used), runs)


def gains_together(rows: Rows, *, margin: float) -> Finding:
    """Claim 15: some QAT variants gain accuracy, calibration and OOD detection together."""
    qat = ("qat", "qat+mse", "rotation")
    parts = {
        "accuracy": ("accuracy_change", "clean", Gain(1, margin, POINTS)),
        "calibration": (CHANGE, "clean", Gain(-1, _squared(rows, margin), SQUARES)),
        "AUROC": ("auroc_change", "ood", Gain(1, margin, POINTS)),
    }
    runs = joined([(name, runs_of(rows, measure, suite=s, kinds=qat)) for name, (measure, s, _) in parts.items()])
    used: dict[str, Any] = {
        "suite": ["clean", "ood"],
        "measure": [measure for measure, *_ in parts.values()],
        "kind": list(qat),
    }
    found = some(runs, {name: gain for name, (*_, gain) in parts.items()}, "QAT variants", **used)
    return _with_left(found, runs)


def spectrum(rows: Rows, *, margin: float) -> Finding:
    """Claim 14: SQNR falls with rank; QAT classifies better from ranks 0-8 and worse from 64 on."""
    sqnr = frames.quantized(frames.matching(rows, r"^sqnr_rank_\d+$"))
    if sqnr.is_empty():
        raise NotTestable("no SQNR by rank (measures sqnr_rank_<r>) in the rows")
    same = common(sqnr, (*VARIANT, "measure"), ())  # a line joins means of the same sets
    parts = {"SQNR by rank": _with_left(of_ranks(same.rows, parts=3), same.left)}
    for pattern, sign in ((FIRST_BAND, 1), (LAST_BAND, -1)):
        changes = frames.matching(rows, pattern)
        runs = changes.with_columns(measure=pl.lit("change"))
        runs = runs_of(runs, "change", suite="explain", kinds=("qat", "qat+mse"))
        found = by_sign(runs, sign, unit=POINTS, margin=margin, parts=3)
        parts[f"QAT at ranks {_edges(changes)}"] = found
    return together(parts, suite="explain", measure=["sqnr_rank_*", "accuracy_rank_*_change"])


def collapse(rows: Rows, *, margin: float) -> Finding:
    """Claim 16: simple QAT at 4 bits loses more than a fifth of its accuracy."""
    del margin  # a fifth is bound enough
    runs = runs_of(rows, "accuracy_delta", kinds=("qat",), bits=4.0)
    used: dict[str, Any] = {"suite": "clean", "measure": "accuracy_delta", "kind": "qat", "bits": 4}
    finding = by_sign(runs, 1, unit=SHARES, beyond=COLLAPSE, **used)
    return replace(finding, why=f"a loss of {COLLAPSE:.0%} of the FP32 accuracy is read as a collapse: {finding.why}")


def _squared(rows: Rows, margin: float) -> float:
    """Return the change of the squared calibration error that moves its root from FP32's by a margin."""
    levels = frames.select(rows, "squared_ce", scheme="fp32")["value"].to_numpy()
    root = float(np.sqrt(max(levels.mean(), 0.0))) if len(levels) else 0.0
    return margin * (2 * root + margin)


def _alone(both: pl.DataFrame, image: pl.DataFrame, on: list[str]) -> str:
    """Say which variants have a set with one scope alone; empty if none has."""
    alone = [a.join(b, on=on, how="anti", nulls_equal=True) for a, b in ((both, image), (image, both))]
    single = pl.concat(alone).sort(on)
    if single.is_empty():
        return ""
    who = named(single.drop("dataset", "scope").select(on[:-1]))
    places = zip(who, single["dataset"], single["scope"], strict=True)
    told = some_of([f"{variant} on {dataset} ({scope})" for variant, dataset, scope in places])
    return f"{single.height} times a set was measured with one scope alone, left out: {told}"


def _with_left(finding: Finding, runs: pl.DataFrame) -> Finding:
    """Say in a finding what was left out of the means that it rests on: the column `left` of its runs."""
    left = "; ".join(filter(None, runs["left"].unique(maintain_order=True).to_list()))
    return replace(finding, why=f"{finding.why}; {left}") if left else finding


def _with_published(finding: Finding, rows: Rows, measure: str, unit: str, **words: Any) -> Finding:
    """Say beside a finding what the published ECE does, which has no interval."""
    try:
        value = float(runs_of(rows, measure, **words)["value"].to_numpy().mean())
    except NotTestable:
        return finding
    return replace(finding, why=f"{finding.why}; the ECE as published: {written(value, unit)}, without an interval")


def _turned(runs: pl.DataFrame) -> pl.DataFrame:
    """Turn the sign of runs and their replicates round."""
    turned = {"value": -pl.col("value"), "low": -pl.col("high"), "high": -pl.col("low")}
    return runs.with_columns(replicated(-table_of(runs)), **turned)


def _edges(changes: pl.DataFrame) -> str:
    """Return the edges of a band of ranks in words; in narrow embeddings they are lower."""
    edges = sorted(changes["measure"].str.extract(r"rank_(\d+_(?:\d+|end))_").unique())
    return " and ".join(e.replace("_end", " on").replace("_", "-") for e in edges)


class Test(Protocol):
    """A claim's test: rows in, and the margin within which a change is read as none."""

    def __call__(self, rows: Rows, /, *, margin: float) -> Finding:
        """Judge the claim."""
        ...


Claim = tuple[str, str, str, Test]
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
