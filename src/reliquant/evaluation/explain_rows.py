"""Rows that explain what quantization did: spectra, bands of ranks, controls, margins, trajectories; free of torch.

What a row is about beyond its measure stands in `group`: a control, a layer, a frequency, a bin or a class. Arrays
called `exact` are FP32's and those called `noisy` are the variant's, on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.evaluation.explain_row import Resamples, Row, change, mean, row, share
from reliquant.evaluation.features import Features
from reliquant.evaluation.records import samples_of
from reliquant.measures import spectrum
from reliquant.measures.controls import CONTROLS
from reliquant.measures.fourier import low_share, radial_energy
from reliquant.measures.rows import rows as measured_rows
from reliquant.measures.spectrum import banded, bands

Array = NDArray[np.float64]
BINS = 10
FEWEST = 5  # images of a class or bin that are worth a row
SHARED = ("accuracy", "ece", "nll", "confidence_gap")  # what controls are measured by


def of_spectra(
    exact: Array, noisy: Array | None, /, *, rng: np.random.Generator, resamples: Resamples | None = None
) -> list[Row]:
    """Describe un-normalised embeddings (n, d) of FP32 and, if given, of a variant on the same images."""
    n = len(exact)
    fp32 = spectrum.spectrum(exact, rng=rng)
    own = fp32 if noisy is None else spectrum.spectrum(noisy, rng=rng)
    shares = own.values**2 / max((own.values**2).sum(), np.finfo(float).tiny)
    powers_of_two = [2**i for i in range(16)]
    ranks = [r for r in (0, *powers_of_two) if r < len(own.values)]
    rows = [row(f"energy_share_rank_{r}", float(shares[r]), None, n) for r in ranks]
    rows.append(row("effective_rank", own.effective_rank, None, n))
    if noisy is None:
        return rows
    rows.append(row("effective_rank_change", own.effective_rank - fp32.effective_rank, None, n))
    total, influence = spectrum.overall(fp32, exact, noisy)
    rows.append(row("sqnr", total, influence, n, resamples=resamples))
    values, influences = spectrum.sqnr_by_rank(fp32, exact, noisy)
    for r in (rank for rank in ranks if rank < len(values)):
        rows.append(row(f"sqnr_rank_{r}", float(values[r]), influences[:, r], n, resamples=resamples))
    return rows


def of_bands(
    exact: Array,
    noisy: Array | None,
    label: NDArray[np.integer],
    /,
    *,
    exact_text: NDArray[np.floating],
    noisy_text: NDArray[np.floating] | None,
    resamples: Resamples | None = None,
) -> list[Row]:
    """Classify from bands of ranks alone, the mean kept: in each one's own basis, and the variant's in FP32's too.

    Embeddings are (n, d), un-normalised; text features (c, d) are those of FP32 and, if there is one, of the variant.
    """
    fp32 = spectrum.spectrum(exact)
    rows = []
    if noisy is None or noisy_text is None:
        for name, (low, high) in bands(exact.shape[1]).items():
            right = _right(banded(exact, fp32, low, high), exact_text, label)
            rows.append(share(f"accuracy_rank_{name}", right, resamples=resamples))
        return rows
    own = spectrum.spectrum(noisy)
    for name, (low, high) in bands(exact.shape[1]).items():
        before = _right(banded(exact, fp32, low, high), exact_text, label)
        for basis, end in ((own, ""), (fp32, "_fp32_basis")):
            after = _right(banded(noisy, basis, low, high), noisy_text, label)
            measure = f"accuracy_rank_{name}{end}"
            rows.append(share(measure, after, resamples=resamples))
            rows.append(change(measure, after, before, resamples=resamples))
    return rows


def of_controls(
    exact: Array,
    noisy: Array,
    /,
    *,
    exact_features: Features,
    noisy_features: Features,
    rng: np.random.Generator,
    resamples: int = 1000,
) -> list[Row]:
    """Measure the variant (group "") and each control on the same images, as differences to FP32.

    `exact` and `noisy` are un-normalised embeddings (n, d); controls use FP32's text features and logit scale.
    """
    fp32 = spectrum.spectrum(exact)
    compared = {"": noisy_features}
    for name, control in CONTROLS.items():
        compared[name] = _with_images(exact_features, control(exact, noisy, fp32, rng))
    return _against(exact_features, compared, resamples)


def of_control(name: str, features: Features, exact: Features, /, *, resamples: int = 1000) -> list[Row]:
    """Measure one more control from its own features, such as those of a model with noisy weights."""
    return _against(exact, {name: features}, resamples)


def of_margins(features: Features, exact: Features | None, /) -> list[Row]:
    """Describe confidence and margin (logit of the true class minus the best other one), and their shift."""
    rows = []
    for measure, of in (("margin", _margins), ("confidence", _confidence)):
        after = of(features)
        rows.append(mean(measure, after))
        if exact is not None:
            rows.append(change(measure, after, of(exact)))
    return rows


def of_maps(maps: NDArray[np.floating], exact: NDArray[np.floating] | None, /) -> list[Row]:
    """Describe the spatial frequencies of feature maps (n, c, h, w): share of energy by radius, and below half."""
    radii, shares = radial_energy(maps)
    low = low_share(radii, shares)
    rows = [mean("radial_energy", of_images, group=f"{r:.4g}") for r, of_images in zip(radii, shares.T, strict=True)]
    rows.append(mean("low_frequency_share", low))
    if exact is not None:
        rows.append(change("low_frequency_share", low, low_share(*radial_energy(exact))))
    return rows


def of_records(records: pl.DataFrame, fp32: pl.DataFrame | None, classes: Sequence[str], /) -> list[Row]:
    """Describe records of one dataset (all its images): reliability, trajectories from FP32's bins, loss by class.

    Both frames hold the same images in the same order; `confidence_tuned` is used where it is there.
    """
    right = (records["prediction"] == records["label"]).to_numpy()
    start = (records if fp32 is None else fp32)["confidence"].to_numpy()
    rows: list[Row] = []
    for scale, column in (("native", "confidence"), ("tuned", "confidence_tuned")):
        if column in records.columns:
            confidence = records[column].to_numpy()
            rows += _binned("reliability", confidence, confidence, right, scale)
            rows += _binned("trajectory", start, confidence, right, scale)
    if fp32 is not None:
        rows += _of_classes(records, right, (fp32["prediction"] == fp32["label"]).to_numpy(), classes)
    return rows


def _of_classes(
    records: pl.DataFrame, right: NDArray[np.bool_], fp32_right: NDArray[np.bool_], classes: Sequence[str]
) -> list[Row]:
    """Return the change of accuracy of each class, in each group of images where there are groups."""
    rows = []
    label = records["label"].to_numpy()
    for group in records["group"].unique(maintain_order=True):
        inside = (records["group"] == group).to_numpy()
        measure = f"{group}_class_accuracy" if group else "class_accuracy"
        for number, name in enumerate(classes):
            at = inside & (label == number)
            if at.sum() >= FEWEST:
                rows.append(change(measure, right[at], fp32_right[at], group=name))
    return rows


def _binned(
    kind: str, by: NDArray[np.floating], confidence: NDArray[np.floating], right: NDArray[np.bool_], scale: str
) -> list[Row]:
    """Return mean confidence and accuracy of the images (n,) in each of ten bins of the values `by` (n,)."""
    rows = []
    number = np.clip(np.ceil(by * BINS).astype(int) - 1, 0, BINS - 1)
    for k in range(BINS):
        at = number == k
        if at.sum() >= FEWEST:
            rows.append(mean(f"{kind}_confidence", confidence[at].astype(float), group=f"bin {k}", scale=scale))
            rows.append(share(f"{kind}_accuracy", right[at], group=f"bin {k}", scale=scale))
    return rows


def _against(exact: Features, others: dict[str, Features], resamples: int) -> list[Row]:
    """Measure the changes from FP32 of each of the others, by group; the variant's (group "") own values too."""
    baseline = _records(exact)
    changes = [f"{measure}_change" for measure in SHARED]
    rows: list[Row] = []
    for name, features in others.items():
        measured = measured_rows(_records(features), baseline, resamples=resamples)
        kept = measured.filter(pl.col("measure").is_in(changes if name else [*changes, *SHARED]))
        columns = kept.select("measure", "value", "low", "high", "p", "n")
        placed = columns.with_columns(group=pl.lit(name), scale=pl.lit("native"))
        rows += [{**line, "replicates": None} for line in placed.to_dicts()]
    return rows


def _records(features: Features) -> pl.DataFrame:
    """Return records of one nameless cell, as the measures want them."""
    where = {"suite": "clean", "dataset": "d", "reference": "d", "group": "", "corruption": ""}
    constants = {name: pl.lit(word) for name, word in where.items()}
    return samples_of(features, {}).with_columns(severity=pl.lit(0, pl.Int8), **constants)


def _with_images(features: Features, image: Array) -> Features:
    """Put other embeddings (n, d), made of unit length, in the place of the images'."""
    unit = (image / np.linalg.norm(image, axis=1, keepdims=True)).astype(np.float32)
    return Features(unit, features.text, features.label, features.logit_scale, features.logit_bias)


def _margins(features: Features) -> Array:
    logits = features.logits.astype(float)
    at = np.arange(len(logits)), features.label
    own = logits[at]
    logits[at] = -np.inf
    return own - logits.max(axis=1)


def _confidence(features: Features) -> Array:
    return features.probabilities.max(axis=1).astype(float)


def _right(image: Array, text: NDArray[np.floating], label: NDArray[np.integer]) -> NDArray[np.bool_]:
    return (image @ text.T.astype(float)).argmax(axis=1) == label
