"""Time post-training quantizers of a ViT-B/32 image tower against FP32 forwards of the same tower, one thread.

Targets: rtn, smoothquant and hqq under one forward over 1,000 images, gptq, awq, erq and qwt (rtn, and a linear layer
beside each block) under ten, qdrop and mixed under two hundred, on the default number of calibration pairs; the time
of the others has no limit. Peak memory of each (of a process of its own, above what it has before the model is made)
under 2.5 times the model. Random weights and images. Memory alone needs few steps: `--methods qdrop --words
'{steps: 4}'`.
`--layers 2` is no quick look at gptq, awq and erq: they run the blocks before each block again, so their time grows
with the square of the number of blocks.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import copy
import json
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import yaml

from reliquant.layers.surgery import insert_twins, targets, unpack_attention
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantize import FLOATING, apply

ALLOWED = {
    "rtn": 1,
    "smoothquant": 1,
    "hqq": 1,
    "gptq": 10,
    "awq": 10,
    "erq": 10,
    "qwt": 10,
    "qdrop": 200,
    "mixed": 200,
    "mixed_gptq": 200,
}  # forwards over 1,000 images
METHODS = [*ALLOWED, "percentile", "mse", "quarot", "raana", "llm_int8", "repq"]
MEMORY = 2.5  # times the bytes of the FP32 model
SCHEMES = {
    "qwt": {"quantizer": "rtn", "compensation": "qwt"},
    "mixed_gptq": {"quantizer": "mixed", "method": "gptq"},
}  # all other names are those of quantizers
GRIDS = {"weight": {"bits": 4, "granularity": "channel"}, "activation": {"bits": 8}}
IMAGES = 64


def tower(layers: int) -> Clip:
    config = copy.deepcopy(open_clip.get_model_config("ViT-B-32"))
    config["vision_cfg"]["layers"], config["text_cfg"]["layers"] = layers, 1
    torch.manual_seed(0)
    model = open_clip.CLIP(**config).eval()
    unpack_attention(model)
    return Clip(model, lambda texts: torch.zeros(len(texts), 77, dtype=torch.long), 224, (0.5,) * 3, (0.25,) * 3)


@torch.no_grad()
def forward(clip: Clip, pixels: torch.Tensor) -> float:
    """Return the processor seconds of a forward over 1,000 images."""
    start = time.process_time()
    clip.model.encode_image(pixels)
    return (time.process_time() - start) * 1000 / len(pixels)


def measured(method: str, layers: int, words: dict[str, Any]) -> tuple[float, float, float]:
    """Quantize in a process of its own: its processor seconds, those of a forward, and its peak memory in models."""
    torch.set_num_threads(1)
    proxy = random_proxy()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * resource.getpagesize()
    clip = tower(layers)
    size = sum(p.nbytes for p in clip.model.parameters())
    entry = {**SCHEMES.get(method, {"quantizer": method}), **GRIDS, **words}
    exact, names = copy.deepcopy(clip.model), targets(clip, "image")
    start = time.process_time()
    insert_twins(clip.model, names, FLOATING, FLOATING)
    apply(clip, entry, names, proxy, Checkpoints())
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    pixels = torch.randn(IMAGES, 3, 224, 224)
    forwards = [forward(replace(clip, model=exact), pixels) for _ in range(4)]
    return seconds, median(forwards[1:]), peak / size - 1  # less the copy that the forwards need


def random_proxy() -> Proxy:
    images = np.random.default_rng(0).integers(0, 256, (512, 224, 224, 3), dtype=np.uint8)
    return Proxy(images, [str(i) for i in range(len(images))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=12, help="blocks of the tower; 12 is all")
    parser.add_argument("--pairs", type=int, help="calibration pairs in place of each method's default")
    parser.add_argument("--words", type=yaml.safe_load, default={}, help="words of the methods, in YAML")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    args = parser.parse_args()
    words = args.words | ({} if args.pairs is None else {"pairs": args.pairs})
    ratios: dict[str, list[float]] = {method: [] for method in args.methods}
    seconds: dict[str, list[float]] = {method: [] for method in ["forward", *args.methods]}
    memory = dict.fromkeys(args.methods, 0.0)
    print(f"{'method':12} {'cpu s':>8} {'forwards over 1,000':>20} {'allowed':>8} {'peak / model':>13} {'allowed':>8}")
    for method in args.methods:
        for _ in range(args.repeats):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                took, bare, peak = alone.submit(measured, method, args.layers, words).result()
            seconds[method].append(took)
            seconds["forward"].append(bare)
            ratios[method].append(took / bare)
            memory[method] = max(memory[method], peak)
        line = f"{method:12} {median(seconds[method]):8.1f} {median(ratios[method]):20.2f}"
        print(f"{line} {ALLOWED.get(method, 'none'):>8} {memory[method]:13.2f} {MEMORY:8}", flush=True)
    slow = [median(found) / ALLOWED[method] for method, found in ratios.items() if method in ALLOWED]
    worst = max([*slow, max(memory.values()) / MEMORY])
    medians = {name: median(values) for name, values in seconds.items()}
    report = {"name": "ptq", "ratio": round(worst, 3), "target": 1.0, "better": "lower"}
    forwards = {name: round(median(found), 3) for name, found in ratios.items()}
    facts = {"layers": args.layers, "medians": medians, "forwards": forwards, "peak_over_model": memory}
    print(json.dumps(report | facts))


if __name__ == "__main__":
    main()
