"""LSQ: learned step size (Esser et al. 2020), in the first author's form (PAPER.md 2; mark A).

Activations learn one scale a tensor, started from calibration. Weights are rounded with absmax scales recomputed in
every forward (`weights: absmax`), or learn theirs too, as published (`weights: learned`).
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import blocks
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import learn, require_symmetric
from reliquant.quantization.observers import Range
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.rules import AbsMaxWeight, LearnedInput, LearnedWeight
from reliquant.quantization.train import Training


def quantizer(
    clip: Clip,
    names: list[str],
    proxy: Proxy,
    saved: Checkpoints,
    /,
    *,
    weight: Grid,
    activation: Grid,
    weights: Literal["absmax", "learned"] = "absmax",
    losses: list[dict] = [{"loss": "contrastive"}],  # noqa: B006  literals are the schema; never changed
    iterations: int = 200,
    batch: int = 64,
    lr: float = 1e-5,
    scale_lr: float = 1e-4,
    weight_decay: float = 0.01,
    clip_norm: float = 1.0,
    warmup: float = 0.1,
    schedule: Literal["cosine", "constant"] = "cosine",
    bf16: bool = False,
    snapshots: list[int] = [],  # noqa: B006
    momentum: float = 0.1,
) -> None:
    """Calibrate the named layers, train them in place on the proxy pairs, and fix the codes."""
    require_symmetric("lsq", activation)
    training = Training(
        losses=losses, iterations=iterations, batch=batch, lr=lr, scale_lr=scale_lr, weight_decay=weight_decay,
        clip_norm=clip_norm, warmup=warmup, schedule=schedule, bf16=bf16, snapshots=snapshots,
    )  # fmt: skip
    rule = AbsMaxWeight if weights == "absmax" else _published
    grids = {"weight": weight, "activation": activation}
    learn(clip, names, proxy, saved, training, LearnedInput, rule, **grids, watch=partial(Range, momentum))


def _published(weight: torch.Tensor, grid: Grid) -> LearnedWeight:
    """Start each scale at 2 mean|w| / sqrt(Qp) (Esser et al. 2020, section 2.1)."""
    return LearnedWeight(2 * blocks(weight, grid).abs().mean(1, keepdim=True) / grid.high**0.5, grid)
