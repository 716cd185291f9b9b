"""Score by virtual-logit matching."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import by_logits, fitted_on
from reliquant.evaluation.subspace import length, residual

NEEDS = "train"  # features of in-distribution training images (`fits:` in a config)


def score(features: Features, train: Features | None, /, *, dimension: int | None = None) -> NDArray[np.float64]:
    """Return the energy minus the virtual logit of each image, (n,); higher = more in-distribution.

    Wang et al., "ViM: Out-of-Distribution with Virtual-logit Matching" (2022), in the form that orders as its
    probability of the virtual class does: log sum_c exp(logit_c) - alpha |residual|, alpha = mean of the largest logits
    over mean of the residuals, both of the training features. `dimension` as in the score `residual`.
    Raises ValueError without training features, where they have no residual, and for a dimension not below their width.
    """
    known = fitted_on(train, "vim")
    origin, basis = residual(known, dimension)
    typical = length(known, origin, basis).mean()
    if typical <= np.finfo(np.float32).eps:
        raise ValueError("score 'vim': training features have no residual; there are too few or dimension is too large")
    alpha = by_logits(known, lambda logits: logits.max(1)).mean() / typical
    return by_logits(features, lambda logits: logsumexp(logits, axis=1)) - alpha * length(features, origin, basis)
