"""The words of a config that every training takes: their types, their defaults, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict


class TrainingWords(TypedDict, total=False):
    """The words of a config that every trained quantizer takes, as `**training: Unpack[TrainingWords]`.

    `Training` says what they mean. A quantizer with another default names that word in its own signature.
    """

    losses: list[dict]
    iterations: int
    batch: int
    lr: float
    scale_lr: float
    weight_decay: float
    clip_norm: float
    warmup: float
    schedule: Literal["cosine", "constant"]
    bf16: bool
    snapshots: list[int]


DEFAULTS: TrainingWords = {
    "losses": [{"loss": "contrastive"}],
    "iterations": 200,
    "batch": 64,
    "lr": 1e-5,
    "scale_lr": 1e-3,
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "warmup": 0.1,
    "schedule": "cosine",
    "bf16": False,
    "snapshots": [],
}


@dataclass(frozen=True, kw_only=True)
class Training:
    """Hold the words of a training.

    `losses` are entries whose losses are summed; each iteration takes a `batch` of pairs. The learning rates of weights
    (`lr`) and of quantizer scales (`scale_lr`, without `weight_decay`) rise over the `warmup` share of the iterations,
    then fall to 0 by a cosine or stay. Scales are learned as logarithms of ratios: `scale_lr` is about the share of
    itself by which a step changes one. Gradients are clipped to the norm `clip_norm`. `bf16` runs the towers under
    bfloat16 autocast. `snapshots` are the iterations after which the model is kept, its codes fixed as if training had
    ended there; under a cosine a training that ended there would have brought its rates down to 0 by then.
    """

    losses: Sequence[Mapping[str, Any]]
    iterations: int
    batch: int
    lr: float
    scale_lr: float
    weight_decay: float
    clip_norm: float
    warmup: float
    schedule: Literal["cosine", "constant"]
    bf16: bool
    snapshots: Sequence[int]

    def __post_init__(self) -> None:
        if not self.losses:
            raise ValueError("losses: there must be at least one, such as {loss: contrastive}")
        late = [i for i in self.snapshots if not 0 <= i <= self.iterations]
        if late:
            raise ValueError(f"snapshots: {late[0]} is not within the {self.iterations} iterations")

    def rate(self, iteration: int, /) -> float:
        """Return the share of the learning rates that an iteration (from 0) uses."""
        rising = max(1, round(self.warmup * self.iterations))
        if iteration < rising:
            return (iteration + 1) / rising
        if self.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (iteration - rising) / max(1, self.iterations - rising)))
