"""LSQ trained to answer as the FP32 model does: distillation of its logits, or of its embeddings.

No caption is trusted, only what FP32 makes of the pairs. For the embeddings say
`losses: [{loss: distillation, of: embeddings}]`.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from reliquant.grid import Grid
from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import learn, require_symmetric
from reliquant.quantization.observers import Range
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.rules import AbsMaxWeight, LearnedInput
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
    losses: list[dict] = [{"loss": "distillation"}],  # noqa: B006  literals are the schema; never changed
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
    require_symmetric("distill", activation)
    training = Training(
        losses=losses, iterations=iterations, batch=batch, lr=lr, scale_lr=scale_lr, weight_decay=weight_decay,
        clip_norm=clip_norm, warmup=warmup, schedule=schedule, bf16=bf16, snapshots=snapshots,
    )  # fmt: skip
    grids = {"weight": weight, "activation": activation}
    learn(clip, names, proxy, saved, training, LearnedInput, AbsMaxWeight, **grids, watch=partial(Range, momentum))
