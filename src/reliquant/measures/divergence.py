"""How far a distribution over classes moved from FP32's, from the few classes that records keep; free of torch."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import rel_entr

TOP, TOP_P = "top", "top_log_p"
KEPT = 16  # classes per image: 128 bytes per record
NONE = 2**32 - 1  # stands for a class, of probability 0, where there are fewer than that


def top_of(log_p: NDArray[np.float64], /) -> list[pl.Series]:
    """Return the most probable classes of each row (n, c) and their log-probabilities, as columns of records."""
    n, c = log_p.shape
    classes = np.full((n, KEPT), NONE, np.uint32)  # of one width, so that records of any sets fit into one frame
    chosen = np.full((n, KEPT), -np.inf, np.float32)
    kept = min(KEPT, c)
    classes[:, :kept] = np.argpartition(-log_p, kept - 1, axis=1)[:, :kept]
    chosen[:, :kept] = np.take_along_axis(log_p, classes[:, :kept].astype(np.intp), axis=1)
    return [
        pl.Series(TOP, classes, dtype=pl.Array(pl.UInt32, KEPT)),
        pl.Series(TOP_P, chosen, dtype=pl.Array(pl.Float32, KEPT)),
    ]


def divergences(baseline: pl.DataFrame, records: pl.DataFrame, /) -> NDArray[np.float64]:
    """Return KL(FP32 || quantized) of each image in nats, (n,), from the 16 likeliest classes of each of the two.

    Classes that both keep are compared one by one, all others as one class: exact up to 16 classes, with more a lower
    bound (log-sum inequality), tight where the classes kept hold nearly all of the probability.
    """
    classes_f, log_p_f = baseline[TOP].to_numpy(), baseline[TOP_P].to_numpy()
    classes_q, log_p_q = records[TOP].to_numpy(), records[TOP_P].to_numpy()
    blocks = [np.empty(0)]
    for start in range(0, len(records), 4096):
        at = slice(start, start + 4096)
        blocks.append(_of_block(classes_f[at], log_p_f[at], classes_q[at], log_p_q[at]))
    return np.concatenate(blocks)


def _of_block(
    classes_p: NDArray[np.uint32],
    log_p: NDArray[np.float32],
    classes_q: NDArray[np.uint32],
    log_q: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return KL(p || q) of each image, (n,), from the classes that the two keep and their log-probabilities, (n, k)."""
    same = classes_p[:, :, None] == classes_q[:, None, :]
    p = np.where(same.any(axis=2), np.exp(log_p.astype(float)), 0.0)
    q = np.einsum("ijk,ik->ij", same, np.exp(log_q.astype(float)))
    rest_p, rest_q = (np.maximum(1 - x.sum(axis=1), 0.0) for x in (p, q))
    small = 1e-6  # 1 minus the sum of a whole distribution may be this far from 0 by rounding
    rest = np.where(rest_p > small, rel_entr(rest_p, np.maximum(rest_q, small)), 0.0)
    return np.maximum(rel_entr(p, q).sum(axis=1) + rest, 0.0)


def kl_divergence(baseline: NDArray[np.floating], probabilities: NDArray[np.floating], /) -> NDArray[np.float64]:
    """Return KL(baseline || quantized) = sum_k p_k ln(p_k / q_k) of each image in nats, (n,).

    Infinite where the quantized model excludes what the baseline does not.

    >>> kl_divergence(np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])).round(4)
    array([0.1438])
    """
    if baseline.shape != probabilities.shape:
        raise ValueError(f"probabilities of shapes {baseline.shape} and {probabilities.shape} do not match")
    return rel_entr(baseline.astype(float), probabilities.astype(float)).sum(axis=1)
