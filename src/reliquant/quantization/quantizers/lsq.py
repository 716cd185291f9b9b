"""LSQ: learned step size (Esser et al. 2020), in the first author's form (mark A of docs/fidelity.md).

Activations learn one scale per tensor, started from calibration. Weights are rounded with absmax scales recomputed in
every forward (`weights: absmax`), or learn theirs too, as published (`weights: learned`).
"""

from __future__ import annotations

from typing import Literal, Unpack

import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import blocks, divided
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import learn_lsq
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.rules import AbsMaxWeight, LearnedWeight
from reliquant.quantization.training_words import TrainingWords

FORMATS = True  # it takes small floats and blocks, too
REFUSES = [
    (
        {"activation.whole_groups": False, "activation.dynamic": True},
        "inputs learn one static scale; leave out dynamic",
    ),
    ({"activation.symmetric": False}, "inputs learn a symmetric range; leave out activation: {symmetric: false}"),
    (
        {"weights": "learned", "weight.whole_groups": True},
        "weights: learned learns scales in FP32 or FP16, and blocks of a format have others; say weights: absmax",
    ),
    (
        {"weights": "learned", "weight.symmetric": False},
        "weights: learned learns a symmetric range; leave out weight: {symmetric: false}",
    ),
]


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
    momentum: float = 0.1,
    **training: Unpack[TrainingWords],
) -> None:
    """Calibrate the named layers, train them in place on the proxy pairs, and fix the codes."""
    rule = AbsMaxWeight if weights == "absmax" else _published
    own = {"weight": weight, "activation": activation, "momentum": momentum}
    learn_lsq("lsq", clip, names, proxy, saved, training, rule, **own)


def _published(weight: torch.Tensor, grid: Grid) -> LearnedWeight:
    """Start each scale at 2 mean|w| / sqrt(Qp) (Esser et al. 2020, section 2.1).

    So the range starts at 2 mean|w| sqrt(Qp). That is kept for small floats, where Qp counts the positive levels and
    the largest level is another number.
    """
    reach = 2 * blocks(weight, grid).abs().mean(1, keepdim=True)
    return LearnedWeight(divided(reach, grid.high / grid.positive_levels**0.5), grid)
