"""Rot+LSQ: the stream is rotated as in QuaRot (Ashkboos et al. 2024), then LSQ trains the rotated model.

The rotation spreads outliers over all channels, so that one learned scale per tensor serves them. It stays fixed (the
proxy's seed draws its signs), and weights train in the rotated basis. Mark N of docs/fidelity.md.
"""

from __future__ import annotations

from typing import Unpack

import numpy as np

from reliquant.grid import Grid
from reliquant.layers.twins import Twin
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import learn_lsq
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.rotation import rotate
from reliquant.quantization.training_words import TrainingWords

FORMATS = True  # it takes small floats and blocks, too
REFUSES = [
    (
        {"activation.whole_groups": False, "activation.dynamic": True},
        "inputs learn one static scale; leave out dynamic",
    ),
    ({"activation.symmetric": False}, "inputs learn a symmetric range; leave out activation: {symmetric: false}"),
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
    momentum: float = 0.1,
    **training: Unpack[TrainingWords],
) -> None:
    """Rotate and calibrate the named layers, train them in place on the proxy pairs, and fix the codes."""
    own = {"weight": weight, "activation": activation, "momentum": momentum}

    def turn(made: dict[str, Twin]) -> None:
        rotate(clip, made, proxy, np.random.default_rng(proxy.seed))

    learn_lsq("rot_lsq", clip, names, proxy, saved, training, **own, change=turn)
