"""Calibration errors of bins as published, of many cells at once: values that no resample can judge; free of torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def plugged_in(sums: Mapping[str, NDArray[np.floating]], n: int, /) -> dict[str, NDArray[np.floating]]:
    """Return calibration errors as published, (cells, who), of the sums over the images of their parts.

    They are too large by what n images cannot tell: `ece_if_calibrated` is the ECE to expect of a model that is
    calibrated, if it had these confidences: the mean size of a normal variate of variance sum p (1 - p) in each bin.
    """
    whole = {part: sums[part][..., 0] for part in sums}
    errors = {"ece": np.abs(whole["gap"]).sum(axis=2) / n}
    if "count" in sums:
        errors["ece_if_calibrated"] = np.sqrt(2 / np.pi * np.maximum(whole["variance"], 0)).sum(axis=2) / n
        errors["mce"] = (np.abs(whole["gap"]) / np.maximum(whole["count"], 1)).max(axis=2)
        errors["ece_equal_mass"] = np.abs(whole["mass_gap"]).sum(axis=2) / n
        errors["debiased_ce"] = _debiased(*(whole[f"mass_{part}"] for part in ("gap", "count", "right")))
    return errors


def _debiased(
    gap: NDArray[np.floating], count: NDArray[np.floating], right: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return `calibration.debiased_ce`, (cells, who), of sums over equal-mass bins, (cells, who, bins)."""
    m = np.maximum(count, 2)  # bins of one image are left out below
    noise = right / m * (1 - right / m) / (m - 1)
    squares = np.where(count > 1, m * ((gap / m) ** 2 - noise), 0).sum(axis=2)
    used = np.where(count > 1, count, 0).sum(axis=2)
    mean = np.divide(squares, used, out=np.full(used.shape, np.nan, used.dtype), where=used > 0)
    return np.sqrt(np.maximum(mean, 0))
