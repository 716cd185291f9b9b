"""Codes of the four Linears of a ViT-B/32 block by our quantizers and by libraries, on the same weights, one thread.

rtn and gptq beside brevitas, hqq beside its authors' package, smoothquant and awq beside torchao, llm_int8 beside
bitsandbytes: the extra `benchmarks`. What looks at inputs sees those of 64 images.
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

import torch
from peers import require

from reliquant.grid import Grid
from reliquant.layers.arithmetic import affine, quantize, weight_affine
from reliquant.layers.twins import twin
from reliquant.quantization.moments import Moments, gptq_codes
from reliquant.quantization.observers import ChannelRange
from reliquant.quantization.quantizers.awq import best_factor
from reliquant.quantization.quantizers.hqq import _rows, optimise
from reliquant.quantization.quantizers.llm_int8 import spare_outliers
from reliquant.quantization.quantizers.smoothquant import smoothing_factor

SHAPES = [(2304, 768), (768, 768), (3072, 768), (768, 3072)]
CHANNEL = Grid(bits=4, granularity="channel")
EIGHT = Grid(bits=8, granularity="channel")
TOKEN = Grid(bits=8, granularity="token", dynamic=True)
GROUPS = Grid(bits=4, granularity="group", group=64, symmetric=False, signed=False)
Run = Callable[[], object]


def linear(weight: torch.Tensor) -> torch.nn.Linear:
    layer = torch.nn.Linear(*weight.shape[::-1], bias=False)
    layer.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    return layer


def brevitas_linear(weight: torch.Tensor) -> torch.nn.Module:
    import brevitas.nn as qnn
    from brevitas.inject.enum import ScalingImplType
    from brevitas.quant import Int8WeightPerChannelFloat

    words = {"weight_bit_width": 4, "weight_scaling_impl_type": ScalingImplType.PARAMETER_FROM_STATS}
    layer = qnn.QuantLinear(*weight.shape[::-1], bias=False, weight_quant=Int8WeightPerChannelFloat, **words)
    layer.load_state_dict({"weight": weight.clone()}, strict=False)
    layer(torch.zeros(1, weight.shape[1]))
    return torch.nn.Sequential(layer.eval())


def rtn(w: torch.Tensor, x: torch.Tensor) -> tuple[Run, Run]:
    theirs = brevitas_linear(w)[0]
    return lambda: quantize(w, *weight_affine(w, CHANNEL), CHANNEL), lambda: theirs.quant_weight().int()


def gptq(w: torch.Tensor, x: torch.Tensor) -> tuple[Run, Run]:
    from brevitas.graph.gptq import gptq_mode

    model = brevitas_linear(w)

    def theirs() -> None:
        with gptq_mode(model, use_quant_activations=False, num_blocks=-(-x.shape[1] // 128)) as mode:
            for _ in range(mode.num_layers):
                mode.model(x)
                mode.update()

    return lambda: gptq_codes(w, 2 * x.T @ x / len(x), CHANNEL, 0.01, 128, act_order=False), theirs


def hqq(w: torch.Tensor, x: torch.Tensor) -> tuple[Run, Run]:
    from hqq.core.quantize import Quantizer

    words = {"group_size": 64, "axis": 1, "bitpack": False, "compute_dtype": torch.float32, "device": "cpu"}
    ours = lambda: quantize(w, *optimise(_rows(w, GROUPS), GROUPS, 0.7, 10.0, 1.01, 20), GROUPS)  # noqa: E731
    return ours, lambda: Quantizer.quantize(w, nbits=4, round_zero=True, **words)


def smoothquant(w: torch.Tensor, x: torch.Tensor) -> tuple[Run, Run]:
    from torchao.prototype.smoothquant.core import RunningAbsMaxSmoothQuantObserver
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    def ours() -> None:
        seen = ChannelRange(0.1)
        seen.update(x)
        scaled = w * smoothing_factor(seen.absmax, [w], 0.5)
        quantize(scaled, *weight_affine(scaled, EIGHT), EIGHT)

    def theirs() -> None:
        observer = RunningAbsMaxSmoothQuantObserver(w, 0.5)
        observer(x)
        quantize_(linear(w * observer.compute_smoothing_factor()), Int8WeightOnlyConfig())

    return ours, theirs


def awq(w: torch.Tensor, x: torch.Tensor) -> tuple[Run, Run]:
    from torchao.prototype.awq.core import AWQObserver
    from torchao.quantization import IntxWeightOnlyConfig, quantize_
    from torchao.quantization.granularity import PerGroup
    from torchao.quantization.quant_primitives import MappingType

    int4 = IntxWeightOnlyConfig(torch.int4, PerGroup(64), MappingType.ASYMMETRIC)

    def ours() -> None:
        seen = Moments(twin(linear(w), GROUPS, Grid(bits=16)))
        seen.update(x)
        scaled = w * best_factor([(w, GROUPS)], seen, 20)
        quantize(scaled, *affine(*_rows(scaled, GROUPS).aminmax(dim=1, keepdim=True), GROUPS), GROUPS)

    def theirs() -> None:
        observer = AWQObserver(w, None, int4)
        observer(x, None)
        quantize_(linear(w * observer.calculate_qparams()), int4)

    return ours, theirs


def llm_int8(w: torch.Tensor, x: torch.Tensor) -> tuple[Run, Run]:
    from bitsandbytes.functional import int8_vectorwise_quant

    def ours() -> None:
        layer = {"layer": twin(linear(w), EIGHT, TOKEN)}
        seen = {"layer": ChannelRange(0.1)}
        seen["layer"].update(x)
        spare_outliers(layer, seen, 6.0)

    def theirs() -> None:
        int8_vectorwise_quant(x, threshold=6.0)  # it finds columns in every forward
        int8_vectorwise_quant(w.clone())

    return ours, theirs


METHODS = (rtn, hqq, gptq, smoothquant, awq, llm_int8)


def seconds(run: Run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


@torch.no_grad()
def main() -> None:
    require("ptq_layers", "brevitas", "hqq", "torchao", "bitsandbytes")
    torch.set_num_threads(1)
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found: dict[str, list[tuple[float, float]]] = {method.__name__: [] for method in METHODS}
    for turn in range(repeats + 1):
        torch.manual_seed(turn)
        pairs = [(torch.randn(shape) * 0.02, torch.randn(3200, shape[1])) for shape in SHAPES]
        for method in METHODS:
            sides = [method(w, x) for w, x in pairs]
            ours, library = (sum(seconds(both[side]) for both in sides) for side in (0, 1))
            if turn:  # the first turn warms up
                found[method.__name__].append((ours, library))
    print(f"{'method':12} {'ours s':>8} {'library s':>10} {'library / ours':>15}")
    ratios = {}
    for name, pairs in found.items():
        ratios[name] = median(b / a for a, b in pairs)
        print(f"{name:12} {median(a for a, _ in pairs):8.3f} {median(b for _, b in pairs):10.3f} {ratios[name]:15.2f}")
    report = {"name": "ptq_layers", "ratio": min(ratios.values()), "target": 1.0, "better": "higher"}
    print(json.dumps(report | {"ratios": ratios}))


if __name__ == "__main__":
    main()
