"""Codes of the four Linears of a ViT-B/32 block by our quantizers and by libraries, on the same weights, one thread.

rtn and gptq (with its Hessian of 64 images) beside brevitas, hqq beside its authors' package: the extra `oracles`.
`python benchmarks/ptq_layers.py [repeats]`; the ratio is the smallest of library / ours.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import json
import sys
import time
from collections.abc import Callable
from statistics import median

import brevitas.nn as qnn
import torch
from brevitas.graph.gptq import gptq_mode
from brevitas.inject.enum import ScalingImplType
from brevitas.quant import Int8WeightPerChannelFloat
from hqq.core.quantize import Quantizer

from reliquant.fakequant import quantize, weight_affine
from reliquant.grid import Grid
from reliquant.quantizers.hqq import _rows, optimise
from reliquant.second_order import gptq_codes

SHAPES = [(2304, 768), (768, 768), (3072, 768), (768, 3072)]
CHANNEL = Grid(bits=4, granularity="channel")
GROUPS = Grid(bits=4, granularity="group", group=64, symmetric=False, signed=False)


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def layer_of(weight: torch.Tensor) -> torch.nn.Module:
    words = {"weight_bit_width": 4, "weight_scaling_impl_type": ScalingImplType.PARAMETER_FROM_STATS}
    layer = qnn.QuantLinear(*weight.shape[::-1], bias=False, weight_quant=Int8WeightPerChannelFloat, **words)
    layer.load_state_dict({"weight": weight.clone()}, strict=False)
    layer(torch.zeros(1, weight.shape[1]))
    return torch.nn.Sequential(layer.eval())


def gptq_by_brevitas(model: torch.nn.Module, x: torch.Tensor) -> None:
    with gptq_mode(model, use_quant_activations=False, num_blocks=-(-x.shape[1] // 128)) as mode:
        for _ in range(mode.num_layers):
            mode.model(x)
            mode.update()


def hqq_by_its_authors(weight: torch.Tensor) -> None:
    words = {"group_size": 64, "axis": 1, "bitpack": False, "compute_dtype": torch.float32, "device": "cpu"}
    Quantizer.quantize(weight, nbits=4, round_zero=True, **words)


def hqq(weight: torch.Tensor) -> None:
    quantize(weight, *optimise(_rows(weight, GROUPS), GROUPS, 0.7, 10.0, 1.01, 20), GROUPS)


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found: dict[str, list[float]] = {f"{m} {side}": [] for m in ("rtn", "hqq", "gptq") for side in ("ours", "library")}
    for turn in range(repeats + 1):
        total = dict.fromkeys(found, 0.0)
        for shape in SHAPES:
            torch.manual_seed(turn)
            w, x = torch.randn(shape) * 0.02, torch.randn(3200, shape[1])
            plain, model = layer_of(w), layer_of(w)
            total["rtn ours"] += seconds(lambda w=w: quantize(w, *weight_affine(w, CHANNEL), CHANNEL))
            total["rtn library"] += seconds(lambda layer=plain[0]: layer.quant_weight().int())
            total["hqq ours"] += seconds(lambda w=w: hqq(w))
            total["hqq library"] += seconds(lambda w=w: hqq_by_its_authors(w))
            hessian = lambda x=x: 2 * x.T @ x / len(x)  # noqa: E731
            total["gptq ours"] += seconds(
                lambda w=w, h=hessian: gptq_codes(w, h(), CHANNEL, 0.01, 128, act_order=False)
            )
            total["gptq library"] += seconds(lambda m=model, x=x: gptq_by_brevitas(m, x))
        for name, value in total.items():
            if turn:  # the first turn warms up
                found[name].append(value)
    medians = {name: median(values) for name, values in found.items()}
    ratios = {}
    print(f"{'method':8} {'ours s':>8} {'library s':>10} {'library / ours':>15}")
    for method in ("rtn", "hqq", "gptq"):
        ours, library = found[f"{method} ours"], found[f"{method} library"]
        ratios[method] = median(b / a for a, b in zip(ours, library, strict=True))
        print(f"{method:8} {median(ours):8.3f} {median(library):10.3f} {ratios[method]:15.2f}")
    report = {"name": "ptq_layers", "ratio": min(ratios.values()), "target": 1.0, "better": "higher"}
    print(json.dumps(report | {"ratios": ratios, "medians": medians}))


if __name__ == "__main__":
    main()
