"""LSQ trained to answer as the FP32 model does: distillation of its logits, or of its embeddings.

It does not trust the captions, only what FP32 makes of the pairs. For the embeddings say
`losses: [{loss: distillation, of: embeddings}]`.
"""

from __future__ import annotations

from typing import Unpack

from reliquant.grid import Grid
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import learn_lsq
from reliquant.quantization.proxy import Proxy
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
    losses: list[dict] = [{"loss": "distillation"}],  # noqa: B006  a literal, read from the source; never changed
    momentum: float = 0.1,
    **training: Unpack[TrainingWords],
) -> None:
    """Calibrate the named layers, train them in place on the proxy pairs, and fix the codes."""
    own = {"weight": weight, "activation": activation, "momentum": momentum}
    learn_lsq("distill", clip, names, proxy, saved, {"losses": losses, **training}, **own)
