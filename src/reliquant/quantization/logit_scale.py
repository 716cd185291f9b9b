"""Logit-scale tuning: the logit scale of a CLIP-like model is fitted anew on held-out pairs; its towers stay."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

Objective = Literal["contrastive", "match_fp32"]
WIDEST = 10.0  # times smaller or larger than before; without a limit, pairs without error would drive it to infinity


def tune_logit_scale(
    image: NDArray[np.float32],
    text: NDArray[np.float32],
    caption_ids: NDArray[np.int64],
    scale: float,
    /,
    *,
    objective: Objective = "contrastive",
    fp32: tuple[NDArray[np.float32], NDArray[np.float32], float] | None = None,
) -> float:
    """Return the logit scale that minimises the objective over n pairs, image and text (n, d) with unit rows.

    The pairs must be none that the model was trained on: it is surer of those than of any others. Each image is
    classified among the distinct captions of the pairs (equal captions have equal `caption_ids`), as
    zero-shot classification does. `contrastive` is the cross entropy with its own caption, the image's half of InfoNCE;
    `match_fp32` is KL(fp32 || this), given the FP32 model's image, text and logit scale. InfoNCE's other half, of
    captions over images, is left out: where captions repeat it is no proper score and draws the scale down (from 6.0 to
    4.2 in the test's example). Both objectives are the log-sum-exp of t cos less a straight line, so they are convex in
    the scale t and have one minimum; it is sought within a factor of 10 of `scale`. A logit bias changes nothing.
    Raises ValueError for embeddings that are not finite, fewer than two captions, and `match_fp32` without `fp32`.

    >>> images, captions = np.eye(2, dtype=np.float32), np.array([[0.8, 0.6], [0.6, 0.8]], np.float32)
    >>> fp32 = (images, images, 5.0)  # right and wrong are 1 apart there, and only 0.2 here
    >>> round(tune_logit_scale(images, captions, np.arange(2), 5.0, objective="match_fp32", fp32=fp32), 3)
    25.0
    """
    cosine, wanted = _lines(image, text, caption_ids, objective, fp32)
    return _least(cosine, wanted.mean(), scale)


def scale_error(
    image: NDArray[np.float32],
    text: NDArray[np.float32],
    caption_ids: NDArray[np.int64],
    scale: float,
    tuned: float,
    /,
    *,
    objective: Objective = "contrastive",
    fp32: tuple[NDArray[np.float32], NDArray[np.float32], float] | None = None,
) -> float | None:
    """Return the standard error of a tuned scale over draws of captions; None if it is an end of its range.

    As of any M-estimator (Huber 1967): the spread of the loss's derivative, summed over the pairs of a caption, over
    the mean curvature. The arguments are those of `tune_logit_scale`, `tuned` what it returned.
    """
    if not 1.001 * scale / WIDEST < tuned < 0.999 * scale * WIDEST:
        return None
    cosine, wanted = _lines(image, text, caption_ids, objective, fp32)
    share = softmax(tuned * cosine, axis=1)
    expected = (share * cosine).sum(axis=1)
    curvature = (share * cosine**2).sum(axis=1) - expected**2
    right = np.unique(caption_ids, return_inverse=True)[1]
    of_captions = np.bincount(right, expected - wanted)
    few = len(of_captions) / (len(of_captions) - 1)
    return float(math.sqrt(few * (of_captions**2).sum()) / curvature.sum())


def _lines(
    image: NDArray[np.float32],
    text: NDArray[np.float32],
    caption_ids: NDArray[np.int64],
    objective: Objective,
    fp32: tuple[NDArray[np.float32], NDArray[np.float32], float] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cosines of images and distinct captions, (n, captions), and the mean cosine that is aimed at, (n,)."""
    distinct, first, right = np.unique(caption_ids, return_index=True, return_inverse=True)
    if len(distinct) < 2:
        raise ValueError("logit-scale tuning: the pairs have one caption only; there is nothing to tell it from")
    cosine = _cosine(image, text[first])  # (n, captions)
    if objective == "contrastive":
        return cosine, cosine[np.arange(len(cosine)), right]
    if fp32 is None:
        raise ValueError("logit-scale tuning: match_fp32 needs the embeddings of the FP32 model")
    exact_image, exact_text, exact_scale = fp32
    exact = softmax(exact_scale * _cosine(exact_image, exact_text[first]), axis=1)  # (n, captions)
    return cosine, (exact * cosine).sum(axis=1)


def _least(cosine: NDArray[np.float64], slope: float, scale: float) -> float:
    """Return the t near `scale` at which mean(logsumexp(t cosine)) - t slope is least; cosine is (n, captions)."""

    def loss(log_scale: float) -> float:
        t = math.exp(log_scale)
        return logsumexp(t * cosine, axis=1).mean() - t * slope

    around, width = math.log(scale), math.log(WIDEST)
    bounds = (around - width, around + width)
    least = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(least.x)


def _cosine(image: NDArray[np.float32], text: NDArray[np.float32]) -> NDArray[np.float64]:
    cosine = np.asarray(image, np.float64) @ np.asarray(text, np.float64).T
    if not np.isfinite(cosine).all():
        raise ValueError("logit-scale tuning: the embeddings of the pairs hold NaN or infinite values")
    return cosine
