"""Rows that explain what quantization did: spectra, bands of ranks, controls, margins, trajectories; torch-free.

What a row is about beyond its measure stands in `group`: a control, a layer, a frequency, a bin or a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.evaluation.features import Features
from reliquant.evaluation.records import samples_of
from reliquant.measures import spectrum
from reliquant.measures.controls import CONTROLS
from reliquant.measures.fourier import low_share, radial_energy
from reliquant.measures.rows import rows as measured_rows
from reliquant.measures.spectrum import banded, bands
from reliquant.measures.stats import normal_test, variance_of_mean, wilson

Row = dict[str, Any]
Array = NDArray[np.float64]
BINS = 10
FEWEST = 5  # images of a class or bin that are worth a row
SHARED = ("accuracy", "ece", "nll", "confidence_gap")


def row(name: str, value: float, variance: float = np.nan, n: int = 0, /, *, kind: str = "value", **where: Any) -> Row:
    """Return a row with its 95 % interval: of a plain `value`, of a `share` (Wilson), or of a `change` (with p)."""
    if kind == "share":
        ends = (*wilson(value, variance, n), np.nan)
    else:
        ends = normal_test(value, variance) if np.isfinite(variance) else (np.nan,) * 3
    if kind != "change":
        ends = (*ends[:2], np.nan)
    numbers = dict(zip(("value", "low", "high", "p"), (value, *ends), strict=True))
    return {"measure": name, "group": "", **where, **{k: _known(x) for k, x in numbers.items()}, "n": n}


def share(name: str, right: NDArray[np.bool_], /, **where: Any) -> Row:
    """Return the row of a share of images, with Wilson's interval."""
    values = right.astype(float)
    return row(name, float(values.mean()), variance_of_mean(values), len(values), kind="share", **where)


def of_spectra(exact: Array, noisy: Array | None, /, *, rng: np.random.Generator) -> list[Row]:
    """Describe un-normalised embeddings (n, d) of FP32 and, if given, of a variant on the same images."""
    n = len(exact)
    fp32 = spectrum.spectrum(exact, rng=rng)
    own = fp32 if noisy is None else spectrum.spectrum(noisy, rng=rng)
    shares = own.values**2 / max((own.values**2).sum(), np.finfo(float).tiny)
    ranks = [r for r in (0, *(2**i for i in range(16))) if r < len(own.values)]
    rows = [row(f"energy_share_rank_{r}", float(shares[r]), np.nan, n) for r in ranks]
    rows.append(row("effective_rank", own.effective_rank, np.nan, n))
    if noisy is None:
        return rows
    rows.append(row("effective_rank_change", own.effective_rank - fp32.effective_rank, np.nan, n))
    total, influence = spectrum.overall(fp32, exact, noisy)
    rows.append(row("sqnr", total, variance_of_mean(influence), n))
    values, influences = spectrum.sqnr_by_rank(fp32, exact, noisy)
    kept = [r for r in ranks if r < len(values)]
    return rows + [row(f"sqnr_rank_{r}", float(values[r]), variance_of_mean(influences[:, r]), n) for r in kept]


def of_bands(exact: Array, noisy: Array | None, heads: Sequence[Array], label: NDArray[np.integer], /) -> list[Row]:
    """Classify from bands of ranks alone, the mean kept: in each one's own basis, and the variant's in FP32's.

    `heads` are the text features (c, d) of FP32 and of the variant.
    """
    fp32 = spectrum.spectrum(exact)
    own = None if noisy is None else spectrum.spectrum(noisy)
    rows = []
    for name, (low, high) in bands(exact.shape[1]).items():
        before = _right(banded(exact, fp32, low, high), heads[0], label)
        if noisy is None or own is None:
            rows.append(share(f"accuracy_rank_{name}", before))
            continue
        for basis, end in ((own, ""), (fp32, "_fp32_basis")):
            after = _right(banded(noisy, basis, low, high), heads[1], label)
            rows += [share(f"accuracy_rank_{name}{end}", after), _change(f"accuracy_rank_{name}{end}", after, before)]
    return rows


def of_controls(
    exact: Array, noisy: Array, features: Sequence[Features], /, *, rng: np.random.Generator, resamples: int = 1000
) -> list[Row]:
    """Measure the variant (group "") and each control on the same images, as differences to FP32.

    `features` are those of FP32 and of the variant; controls use FP32's text and logit scale.
    """
    fp32 = spectrum.spectrum(exact)
    made = {name: control(exact, noisy, fp32, rng) for name, control in CONTROLS.items()}
    return _against(features[0], {"": features[1]} | {k: _of(features[0], x) for k, x in made.items()}, resamples)


def of_control(name: str, features: Features, exact: Features, /, *, resamples: int = 1000) -> list[Row]:
    """Measure one more control from its own features, such as those of a model with noisy weights."""
    return _against(exact, {name: features}, resamples)


def of_margins(features: Features, exact: Features | None, /) -> list[Row]:
    """Describe confidence and margin (logit of the true class minus the best other one), and their shift."""
    n, rows = len(features.label), []
    for name, f in (("margin", _margins), ("confidence", lambda x: x.probabilities.max(axis=1).astype(float))):
        after = f(features)
        rows.append(row(name, float(after.mean()), variance_of_mean(after), n))
        if exact is not None:
            moved = after - f(exact)
            rows.append(row(f"{name}_change", float(moved.mean()), variance_of_mean(moved), n, kind="change"))
    return rows


def of_maps(maps: NDArray[np.floating], exact: NDArray[np.floating] | None, /) -> list[Row]:
    """Describe the spatial frequencies of feature maps (n, c, h, w): share of energy by radius, and below half."""
    radii, shares = radial_energy(maps)
    n, low = len(maps), low_share(radii, shares)
    rows = [
        row("radial_energy", float(s.mean()), variance_of_mean(s), n, group=f"{r:.4g}")
        for r, s in zip(radii, shares.T, strict=True)
    ]
    rows.append(row("low_frequency_share", float(low.mean()), variance_of_mean(low), n))
    if exact is not None:
        moved = low - low_share(*radial_energy(exact))
        rows.append(row("low_frequency_share_change", float(moved.mean()), variance_of_mean(moved), n, kind="change"))
    return rows


def of_records(records: pl.DataFrame, fp32: pl.DataFrame | None, classes: Sequence[str], /) -> list[Row]:
    """Describe records of one dataset (all its images): reliability, trajectories from FP32's bins, loss by class.

    Both frames hold the same images in the same order; `confidence_tuned` is used where it is there.
    """
    right = (records["prediction"] == records["label"]).to_numpy()
    scales = {"native": "confidence", "tuned": "confidence_tuned"}
    sure = {s: records[c].to_numpy() for s, c in scales.items() if c in records.columns}
    start = sure["native"] if fp32 is None else fp32["confidence"].to_numpy()
    rows = [
        part
        for scale, confidence in sure.items()
        for kind, by in (("reliability", confidence), ("trajectory", start))
        for part in _binned(kind, by, confidence, right, scale)
    ]
    if fp32 is None:
        return rows
    lost = right.astype(float) - (fp32["prediction"] == fp32["label"]).to_numpy()
    label = records["label"].to_numpy()
    for group in records["group"].unique(maintain_order=True):
        at, name = (records["group"] == group).to_numpy(), f"{group}_class_accuracy" if group else "class_accuracy"
        for k, word in enumerate(classes):
            if (chosen := at & (label == k)).sum() >= FEWEST:
                rows.append(_change(name, lost[chosen], np.zeros(int(chosen.sum())), group=word))
    return rows


def _binned(kind: str, by: NDArray[Any], confidence: NDArray[Any], right: NDArray[np.bool_], scale: str) -> list[Row]:
    rows = []
    number = np.clip(np.ceil(by * BINS).astype(int) - 1, 0, BINS - 1)
    for k in range(BINS):
        at = number == k
        if at.sum() >= FEWEST:
            where = {"group": f"bin {k}", "scale": scale}
            sure = confidence[at].astype(float)
            rows.append(row(f"{kind}_confidence", float(sure.mean()), variance_of_mean(sure), int(at.sum()), **where))
            rows.append(share(f"{kind}_accuracy", right[at], **where))
    return rows


def _against(exact: Features, others: dict[str, Features], resamples: int) -> list[Row]:
    baseline = _records(exact)
    wanted = [f"{m}_change" for m in SHARED]
    rows: list[Row] = []
    for name, features in others.items():
        found = measured_rows(_records(features), baseline, resamples=resamples)
        kept = found.filter(pl.col("measure").is_in([*wanted, *SHARED] if not name else wanted))
        rows += [{**r, "group": name} for r in kept.select("measure", "value", "low", "high", "p", "n").to_dicts()]
    return rows


def _records(features: Features) -> pl.DataFrame:
    where = {"suite": "clean", "dataset": "d", "reference": "d", "group": "", "corruption": ""}
    found = samples_of(features, {})
    return found.with_columns(severity=pl.lit(0, pl.Int8), **{k: pl.lit(v) for k, v in where.items()})


def _of(features: Features, image: Array) -> Features:
    unit = (image / np.linalg.norm(image, axis=1, keepdims=True)).astype(np.float32)
    return Features(unit, features.text, features.label, features.logit_scale, features.logit_bias)


def _margins(features: Features) -> Array:
    logits = features.logits.astype(float)
    at = np.arange(len(logits)), features.label
    own = logits[at]
    logits[at] = -np.inf
    return own - logits.max(axis=1)


def _right(image: Array, text: NDArray[np.floating], label: NDArray[np.integer]) -> NDArray[np.bool_]:
    return (image @ text.T.astype(float)).argmax(axis=1) == label


def _change(name: str, after: NDArray[Any], before: NDArray[Any], **where: Any) -> Row:
    moved = after.astype(float) - before.astype(float)
    variance = variance_of_mean(moved)
    return row(f"{name}_change", float(moved.mean()), variance, len(moved), kind="change", **where)


def _known(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None
