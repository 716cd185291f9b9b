"""Weights of images in resamples that everything measured on the same photographs shares; free of torch.

The weight of an image in a resample follows from its photograph and the number of the resample alone. So all variants,
models, measures, sets and studies that hold a photograph weigh it alike, in whatever order and on whatever machine they
are measured, and the mean or difference of any two of their replicates has the right spread, without a formula for it.
"""

from __future__ import annotations

import zlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.files.artifacts import KEPT

PHOTOGRAPH = "photograph"  # the column of records that holds an image's key
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # of the SplitMix64 generator (Steele, Lea and Flood 2014)
STEPS = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))


def keys(records: pl.DataFrame, /) -> NDArray[np.uint64]:
    """Return the key of each record's photograph, (n,); where records hold none, a dataset's name and index make it."""
    if PHOTOGRAPH in records.columns and not records[PHOTOGRAPH].null_count():
        return records[PHOTOGRAPH].cast(pl.UInt64).to_numpy()
    names = {name: zlib.crc32(name.encode()) for name in records["dataset"].unique()}
    dataset = records["dataset"].replace_strict(names, return_dtype=pl.UInt64).to_numpy()
    return (dataset << np.uint64(32)) | records["index"].cast(pl.UInt64).to_numpy()


def weights(photograph: NDArray[np.uint64], stratum: NDArray[np.int64], /, *, resamples: int = KEPT) -> NDArray:
    """Return how much each image weighs in each resample, float32 (resamples, n); 1 on average, over each stratum too.

    Standard exponential variates of the photographs, divided by their mean over the stratum, are the weights w of the
    Bayesian bootstrap (Rubin 1981). In a stratum of m images they vary too little, by a factor of (m - 1) / (m + 1) of
    the variance; 1 + ((m + 1) / (m - 1))^(1/2) (w - 1) has that of an unbiased estimate, as the weights of Rao and Wu
    (1988) have. These may be slightly below 0. The image of a stratum of one always weighs 1.

    >>> found = weights(np.arange(6, dtype=np.uint64), np.array([0, 0, 0, 1, 1, 1]), resamples=2)
    >>> found.shape, found[:, :3].sum(axis=1).round(3).tolist()
    ((2, 6), [3.0, 3.0])
    """
    order = np.argsort(stratum, kind="stable")
    ordered, (_, first, m) = photograph[order], np.unique(stratum[order], return_index=True, return_counts=True)
    wider = np.sqrt((m + 1) / np.maximum(m - 1, 1))
    found = np.empty((resamples, len(photograph)), np.float32)
    step = max(1, 500_000 // max(1, len(photograph)))  # a piece that stays in the cache
    for low in range(0, resamples, step):
        drawn = _exponential(ordered, np.arange(low, min(low + step, resamples)))
        mean = np.add.reduceat(drawn, first, axis=1) / m
        drawn = 1 + np.repeat(wider, m) * (drawn / np.repeat(mean, m, axis=1) - 1)
        found[low : low + len(drawn), order] = drawn
    return found


def unseen(
    photograph: NDArray[np.uint64], answer: NDArray[np.integer] | None = None, /, *, resamples: int = KEPT
) -> NDArray[np.float32]:
    """Return the difference of the weights of two images that a set of photographs might have had too, (resamples,).

    It is the same for all variants of a model on these photographs, as an image that FP32 is unsure of may flip in each
    of them, and another for any other set, and for a model whose FP32 gives another `answer` (n,). Its variance is 1.
    """
    with np.errstate(over="ignore"):
        asked = photograph if answer is None else photograph + _mixed(np.asarray(answer).astype(np.uint64))
        fold = _mixed(np.bitwise_xor.reduce(_mixed(asked), keepdims=True) ^ np.uint64(len(photograph)))
        drawn = _exponential(np.concatenate([fold, fold + np.uint64(1)]), np.arange(resamples))
    return ((drawn[:, 0] - drawn[:, 1]) * 0.5**0.5).astype(np.float32)


def linear(value: float, influence: NDArray[np.floating], weight: NDArray[np.float32], /) -> NDArray[np.float32]:
    """Return replicates (b,) of an estimate from the influence (n,) of each image on it, which average to 0.

    The first-order estimate in a resample is the value and the mean of weight (b, n) times influence.
    """
    return (value + weight @ np.asarray(influence, np.float32) / len(influence)).astype(np.float32)


def _exponential(photograph: NDArray[np.uint64], resample: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return a standard exponential variate of each photograph in each resample, (b, n)."""
    with np.errstate(over="ignore"):
        mixed = _mixed(photograph)[None, :] + (resample.astype(np.uint64)[:, None] + np.uint64(1)) * GOLDEN
        uniform = (_mixed(mixed) >> np.uint64(11)).astype(np.float64)
    return -np.log((uniform + 0.5) * 2.0**-53)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the output of SplitMix64 for each state: 64 bits that look random."""
    for shift, factor in STEPS:
        state = (state ^ (state >> np.uint64(shift))) * factor
    return state ^ (state >> np.uint64(31))
