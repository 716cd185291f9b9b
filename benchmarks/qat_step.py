"""Time one LSQ training step (W8A8) against the FP32 step: ViT-B/32 image tower, batch 64, one thread.

Both sides are the step of `reliquant.train`: forward, contrastive loss, backward, gradient clipping, AdamW; the texts
are embedded once. The sides take turns in one process, and what counts is processor time, which other jobs on the
machine disturb least; `python benchmarks/qat_step.py [repeats] [batch]`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import copy
import json
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch.nn.functional import normalize

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins, targets, unpack_attention
from reliquant.layers.twins import StaticInput
from reliquant.models.clip import Clip
from reliquant.models.embedded import Embedded
from reliquant.models.losses.contrastive import loss
from reliquant.models.openclip import open_clip
from reliquant.quantization.learn import install
from reliquant.quantization.rules import AbsMaxWeight, LearnedInput

TARGET = 1.4


def steps(batch: int) -> dict[str, Callable[[], None]]:
    """Return the two sides: a function each that takes one training step."""
    torch.manual_seed(0)
    exact = open_clip.create_model("ViT-B-32").eval()
    unpack_attention(exact)
    clip = Clip(exact, lambda texts: torch.ones(len(texts), 77, dtype=torch.long), 224, (0.5,) * 3, (0.25,) * 3)
    names = targets(clip, "image")
    del exact.transformer, exact.token_embedding  # the text tower takes no part
    student = copy.deepcopy(exact)
    pixels = torch.randn(batch, 3, 224, 224)
    text = normalize(torch.randn(batch, 512), dim=1)
    made = insert_twins(student, names, Grid(bits=8, granularity="channel"), Grid(bits=8))
    for layer in made.values():
        layer.input = StaticInput(Grid(bits=8), 0.03)
    install(made, LearnedInput, AbsMaxWeight)
    return {"fp32": step(exact, pixels, text), "lsq": step(student, pixels, text)}


def step(model: torch.nn.Module, pixels: torch.Tensor, text: torch.Tensor) -> Callable[[], None]:
    """Bind a model to one training step of its image tower."""
    parameters = list(model.visual.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
    scalars = torch.tensor(100.0), torch.tensor(0.0), torch.arange(len(text))

    def once() -> None:
        image = model.encode_image(pixels, normalize=True)
        value = loss(Embedded(image, text, *scalars), None)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return once


def main() -> None:
    repeats, batch = (int(word) for word in [*sys.argv[1:], *("3", "64")[len(sys.argv) - 1 :]])
    torch.set_num_threads(1)
    sides = steps(batch)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, once in sides.items():
            start = time.process_time()
            once()
            if turn:  # the first turn warms up
                seconds[name].append(time.process_time() - start)
    medians = {name: median(times) for name, times in seconds.items()}
    ratio = median(q / f for q, f in zip(seconds["lsq"], seconds["fp32"], strict=True))
    for name, value in medians.items():
        print(f"{name:5} {value:7.3f} s a step of {batch} images")
    print(f"LSQ takes {ratio:.3f} x the FP32 step (target: at most {TARGET})")
    print(json.dumps({"name": "qat_step", "ratio": ratio, "target": TARGET, "better": "lower", "medians": medians}))


if __name__ == "__main__":
    main()
