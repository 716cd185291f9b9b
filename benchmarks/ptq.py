"""Time post-training quantizers of a ViT-B/32 image tower against FP32 forwards of the same tower, one thread each.

Targets: rtn, smoothquant and hqq under one forward over 1,000 images, gptq, awq, erq and qwt (rtn, and a linear layer
beside each block) under ten, qdrop and mixed under two hundred, on the default number of calibration pairs; the time
of the others has no limit. Peak memory of each (of a process of its own, above what it has before the model is made)
under 2.5 times the model. Random weights and images.

So that all takes ten minutes, two methods run at a time, each in a process, processor time counts, and what is slow
runs on fewer pairs, samples or steps (`PLANS`). Its time is then said for the whole method. Parts of a method that
grow with a word grow in proportion to it and the rest does not, so that the measured time, multiplied by the largest
of these proportions, is a bound from above. Of qdrop and qwt the time in steps and that of forwards to each block
are multiplied apart, each by its own proportion, and what they keep of the pairs of a block is counted for all pairs;
of the others no memory grows with what is left out, as they hold a batch of pairs at a time. `--whole` leaves nothing
out, for hours; `--words` and `--pairs` are taken as they are; mixed_gptq, mixed bits by GPTQ, runs where `--methods`
names it, for five minutes alone.
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
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch._dynamo  # the first optimizer imports it: 2 s, which are no part of a step
import yaml

from reliquant.layers.surgery import insert_twins, targets, unpack_attention
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip
from reliquant.models.parts import tensors_in
from reliquant.quantization import compensation, reconstruction
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
SLOWEST_FIRST = ["mixed_gptq", "qdrop", "qwt", "mixed", "erq", "awq", "gptq", "hqq", "smoothquant", "rtn"]
SLOWEST_FIRST += METHODS[len(ALLOWED) :]  # so that both processes end at about the same time
MEMORY = 2.5  # times the bytes of the FP32 model
SCHEMES = {
    "qwt": {"quantizer": "rtn", "compensation": "qwt"},
    "mixed_gptq": {"quantizer": "mixed", "method": "gptq"},
}  # all other names are those of quantizers


@dataclass(frozen=True)
class Plan:
    """Say which words make a method short, and what its time is at most multiplied by for the whole method."""

    words: dict[str, Any] = field(default_factory=dict)
    longer: float = 1.0
    steps_longer: float = 1.0  # the same of the time that is spent in steps of learning
    calls_longer: float = 1.0  # of the time and memory of what a block is called with (`reconstruction.calls_of`)


FEW = {"samples": 4, "choices": [4, 2]}  # of 128, and of four
PLANS = {
    "gptq": Plan({"pairs": 32}, 8),
    "awq": Plan({"pairs": 64}, 4),
    "erq": Plan({"pairs": 64}, 4),
    "qwt": Plan({"pairs": 128}, 4, calls_longer=2),  # of rtn's 512, and of its own 256
    "qdrop": Plan({"steps": 5, "pairs": 64}, steps_longer=200, calls_longer=8),
    "mixed": Plan(FEW | {"words": {"pairs": 128}}, 64),
    "mixed_gptq": Plan(FEW | {"samples": 16, "words": {"pairs": 64}}, 16),
}  # all others that a limit is set for are run whole
UNLIMITED = Plan({"pairs": 64})
GRIDS = {"weight": {"bits": 4, "granularity": "channel"}, "activation": {"bits": 8}}
IMAGES = 32


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


def measured(method: str, layers: int, plan: Plan) -> tuple[str, float, float, float]:
    """Quantize in this process: the method, its processor seconds, those of a forward, its peak memory in models."""
    torch.set_num_threads(1)
    proxy, parts = random_proxy(), Parts()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * resource.getpagesize()
    clip = tower(layers)
    size = sum(p.nbytes for p in clip.model.parameters())
    entry = {**SCHEMES.get(method, {"quantizer": method}), **GRIDS, **plan.words}
    exact, names = copy.deepcopy(clip.model), targets(clip, "image")
    start = time.process_time()
    insert_twins(clip.model, names, FLOATING, FLOATING)
    apply(clip, entry, names, proxy, Checkpoints())
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before + parts.held * (plan.calls_longer - 1)
    forward(replace(clip, model=exact), torch.randn(4, 3, 224, 224))
    forwards = [forward(replace(clip, model=exact), torch.randn(IMAGES, 3, 224, 224)) for _ in range(2)]
    whole = (seconds - parts.steps - parts.calls) * plan.longer
    whole += parts.steps * plan.steps_longer + parts.calls * plan.calls_longer
    return method, whole, median(forwards), peak / size - 1  # less the copy that the forwards need


class Parts:
    """Add up what qdrop and qwt spend in parts from now on, in processor seconds of this process.

    `steps` are spent in steps of learning, `calls` in forwards to the blocks; `held` are the bytes that the calls of a
    block keep of their pairs at most, in the rounded model and in FP32, one after the other.
    """

    def __init__(self) -> None:
        self.steps, self.calls, self.held, self.last = 0.0, 0.0, 0, 0
        self._learn, self._calls_of = reconstruction._learn, reconstruction.calls_of
        reconstruction._learn = self.learn
        reconstruction.calls_of = compensation.calls_of = self.calls_of

    def learn(self, *words: Any) -> None:
        """Learn as `reconstruction._learn` does."""
        start = time.process_time()
        self._learn(*words)
        self.steps += time.process_time() - start

    def calls_of(self, *words: Any, **named: Any) -> reconstruction.Calls:
        """Return what `reconstruction.calls_of` does."""
        start = time.process_time()
        found = self._calls_of(*words, **named)
        self.calls += time.process_time() - start
        kept = tensors_in([found.inputs, found.outputs])
        here = sum({tensor.data_ptr(): tensor.nbytes for tensor in kept}.values())
        self.held, self.last = max(self.held, self.last + here), here
        return found


def random_proxy() -> Proxy:
    images = np.random.default_rng(0).integers(0, 256, (512, 224, 224, 3), dtype=np.uint8)
    return Proxy(images, [str(i) for i in range(len(images))])


def plan_of(method: str, args: argparse.Namespace) -> Plan:
    """Return how a method is run: as asked for, or so that all takes ten minutes."""
    words = args.words | ({} if args.pairs is None else {"pairs": args.pairs})
    if words or args.whole:
        return Plan(words)
    return PLANS.get(method, Plan() if method in ALLOWED else UNLIMITED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12, help="blocks of the tower; 12 is all")
    parser.add_argument("--pairs", type=int, help="calibration pairs of each method")
    parser.add_argument("--words", type=yaml.safe_load, default={}, help="words of the methods, in YAML")
    parser.add_argument("--whole", action="store_true", help="leave nothing out")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), help="methods at a time")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[m for m in METHODS if m != "mixed_gptq"])
    args = parser.parse_args()
    ratios: dict[str, list[float]] = {method: [] for method in args.methods}
    memory = dict.fromkeys(args.methods, 0.0)
    seconds: dict[str, list[float]] = {method: [] for method in ["forward", *args.methods]}
    print(f"{'method':12} {'cpu s':>8} {'forwards over 1,000':>20} {'allowed':>8} {'peak / model':>13} {'allowed':>8}")
    queue = sorted(args.methods * args.repeats, key=SLOWEST_FIRST.index)
    with ProcessPoolExecutor(args.processes, get_context("spawn"), max_tasks_per_child=1) as pool:
        jobs = [pool.submit(measured, method, args.layers, plan_of(method, args)) for method in queue]
        for job in as_completed(jobs):
            method, took, bare, peak = job.result()
            seconds[method].append(took)
            seconds["forward"].append(bare)
            ratios[method].append(took / bare)
            memory[method] = max(memory[method], peak)
            line = f"{method:12} {took:8.1f} {took / bare:20.2f} {ALLOWED.get(method, 'none'):>8} {peak:13.2f}"
            print(f"{line} {MEMORY:8}  {told(plan_of(method, args))}", flush=True)
    slow = {f"{method}, time": median(found) / ALLOWED[method] for method, found in ratios.items() if method in ALLOWED}
    large = {f"{method}, memory": peak / MEMORY for method, peak in memory.items()}
    worst, ratio = max((slow | large).items(), key=lambda item: item[1])
    medians = {name: median(values) for name, values in seconds.items()}
    report = {"name": "ptq", "ratio": round(ratio, 3), "target": 1.0, "better": "lower", "worst": worst}
    forwards = {name: round(median(found), 3) for name, found in ratios.items()}
    facts = {"layers": args.layers, "medians": medians, "forwards": forwards, "peak_over_model": memory}
    print(json.dumps(report | facts))


def told(plan: Plan) -> str:
    """Say what was left out, and what the time was multiplied by."""
    parts = {"": plan.longer, " in steps": plan.steps_longer, " of forwards to blocks": plan.calls_longer}
    return ", ".join([str(plan.words or "whole"), *(f"time{part} x {by:g}" for part, by in parts.items() if by > 1)])


if __name__ == "__main__":
    main()
