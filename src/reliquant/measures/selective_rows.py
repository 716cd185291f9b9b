"""Rows of measures that are no sums over images: selective prediction, smooth ECE, flipped answers; free of torch."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures import bootstrap, resampling, selective
from reliquant.measures.pairing import Pair, fp32_answers
from reliquant.measures.smooth_ece import smooth_ece


def selective_rows(pair: Pair, weight: NDArray[np.float32], /) -> list[bootstrap.Row]:
    """Return the rows of one cell, with closed-form intervals; `weight` (b, n) are those of `resampling.weights`.

    The smooth ECE, like every plug-in calibration error, is as published and has no interval.
    """
    rows, n = [], len(pair.variant)
    answers, answers_fp32 = _answers(pair.variant), None if pair.fp32 is None else _answers(pair.fp32)
    unseen = resampling.unseen(resampling.keys(pair.variant), fp32_answers(pair))
    for measure in (selective.aurc, selective.augrc, selective.excess_aurc, selective.misclassification_auroc):
        name, found = measure.__name__, selective.estimated(measure, *answers)
        kept = resampling.linear(found.value, found.influence, weight)
        rows.append(bootstrap.row(name, found.value, *found.interval, np.nan, n, kept))
        if answers_fp32 is not None:
            fp32 = selective.estimated(measure, *answers_fp32)
            change, moved = found.value - fp32.value, found.influence - fp32.influence
            kept = resampling.linear(change, moved, weight) + found.flip_beside(fp32) / n * unseen
            rows.append(bootstrap.row(f"{name}_change", change, *found.minus(fp32), n, kept))
    smooth = smooth_ece(*answers)[0]
    rows.append(bootstrap.row("smooth_ece", smooth, np.nan, np.nan, np.nan, n))
    if answers_fp32 is not None:
        difference = smooth - smooth_ece(*answers_fp32)[0]
        rows.append(bootstrap.row("smooth_ece_change", difference, np.nan, np.nan, np.nan, n))
    if pair.fp32 is not None:
        flipped = (pair.variant["prediction"] != pair.fp32["prediction"]).to_numpy()
        value, influence = selective.flipped_confidence_gap(*answers, flipped)
        low, high = selective.interval_of_gap(value, influence, int(flipped.sum()))
        kept = resampling.linear(value, influence, weight)
        rows.append(bootstrap.row("flipped_confidence_gap", value, low, high, np.nan, int(flipped.sum()), kept))
    return rows


def _answers(records: pl.DataFrame) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Return how confident each answer is and whether it is right, (n,) each."""
    return records["confidence"].to_numpy(), (records["prediction"] == records["label"]).to_numpy()
