"""Score by negative labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reliquant.evaluation.features import Features
from reliquant.evaluation.scoring import positive

NEEDS = "negatives"  # text features of other words (`negatives:` in a config)


def score(
    features: Features,
    train: Features | None,
    /,
    *,
    percentile: float = 95.0,
    share: float = 0.15,
    groups: int = 100,
    temperature: float = 1.0,
) -> NDArray[np.float64]:
    """Return the probability of the classes among classes and negative words, (n,); higher = more in-distribution.

    Jiang et al., "Negative Label Guided OOD Detection with Pretrained Vision-Language Models" (2024):
    of the candidates `features.negatives`, the words least similar to the classes are kept (`mine`) and dealt out to
    groups; the score is the mean over groups g of sum_c e^(l_c) / (sum_c e^(l_c) + sum_{w in g} e^(l_w)), with l the
    model's own logits / T (the paper's tau = 0.01 is CLIP's scale of 100). `train` is not used.
    Raises ValueError without candidates, and for words out of range.
    """
    t = positive("temperature", temperature)
    if features.negatives is None:
        raise ValueError("score 'neglabel' needs text features of negative words, and there are none")
    words = features.negatives[mine(features.text, features.negatives, percentile, share)]
    count = min(groups, len(words))
    if count < 1:
        raise ValueError(f"groups must be at least 1, got {groups}")
    words = words[: len(words) // count * count].astype(np.float64)
    labels = np.concatenate([features.text, words]).T  # (d, c + words)
    classes, out = len(features.text), np.empty(len(features.image))
    rows = max(1, 2**22 // labels.shape[1])  # images in a block of 32 MB
    for i in range(0, len(out), rows):
        logits = features.logit_scale / t * (features.image[i : i + rows].astype(np.float64) @ labels)
        power = np.exp(logits - logits.max(1, keepdims=True))
        inside = power[:, :classes].sum(1, keepdims=True)
        outside = power[:, classes:].reshape(len(power), -1, count).sum(1)  # word j belongs to group j mod count
        out[i : i + rows] = (inside / (inside + outside)).mean(1)
    return out


def mine(
    classes: NDArray[np.float32], candidates: NDArray[np.float32], percentile: float, share: float, /
) -> NDArray[np.intp]:
    """Return the indices of the share of candidate words (m, d) least similar to the classes (c, d), farthest first.

    Similarity to the classes is a percentile of the cosines with them: robust against one class that happens to be near
    (NegMining). Raises ValueError for a percentile outside 0 .. 100 and a share outside 0 .. 1, or of no word.
    """
    if not 0 <= percentile <= 100 or not 0 < share <= 1:
        raise ValueError(f"percentile must be in 0 .. 100 and share in 0 .. 1, got {percentile} and {share}")
    kept = int(len(candidates) * share)
    if not kept:
        raise ValueError(f"a share of {share} of {len(candidates)} negative words is none")
    text = classes.T.astype(np.float64)
    near = [
        np.percentile(candidates[i : i + 4096].astype(np.float64) @ text, percentile, axis=1)
        for i in range(0, len(candidates), 4096)
    ]
    return np.argsort(np.concatenate(near), kind="stable")[:kept]
