"""Forward of a ViT-B/32 image tower: FP32, simulated W8A8, FP8 and NVFP4, integer W8A8; one thread, random weights.

The sides take turns in one process; what counts is processor time, which other jobs on the machine disturb least, and
the median over turns of the ratio within a turn. Beside them: fake quantization by brevitas and by NNCF, and OpenVINO
int8 (extra `benchmarks`; one that is absent is named, and the exit status is 3). The last line is the simulations',
each over what it may take; `benchmarks/integer.py` prints the integer path's.
`python benchmarks/forward.py [repeats] [batch] [blocks]`
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
from typing import Any

import torch
from peers import ABSENT, absent

from reliquant.deploy import engines
from reliquant.grid import FORMATS, Grid
from reliquant.layers.arithmetic import fitted
from reliquant.layers.backend import use_backend
from reliquant.layers.surgery import insert_twins, targets, unpack_attention
from reliquant.layers.twins import DynamicInput, StaticInput
from reliquant.layers.variant import export, restore
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip

Side = Callable[[torch.Tensor], Any]
ALLOWED = {"simulate": 1.05, "fp8": 1.3, "mxfp4": 1.3, "nvfp4": 1.3}  # times the time of FP32
PEERS = ("brevitas", "nncf", "openvino")


def tower(blocks: int) -> torch.nn.Module:
    """Return a model with the image tower of a ViT-B/32, and next to no text tower, with random weights."""
    torch.manual_seed(0)
    config = open_clip.get_model_config("ViT-B-32")
    config["vision_cfg"]["layers"] = blocks
    config["text_cfg"] |= {"vocab_size": 128, "width": 64, "heads": 1, "layers": 1}
    return open_clip.CLIP(**config).eval().requires_grad_(False)


def tokens(texts: list[str]) -> torch.Tensor:
    """Stand in for the tokenizer: only the image tower is measured."""
    return torch.ones(len(texts), 77, dtype=torch.long)


def layers(model: torch.nn.Module) -> list[str]:
    """Name the layers that are quantized."""
    return targets(Clip(model, tokens, 224, (0.5,) * 3, (0.25,) * 3), "image")


def sides(names: list[str], pixels: torch.Tensor, blocks: int, /) -> dict[str, Side]:
    """Return the named forwards of the same weights."""
    exact = tower(blocks)
    found: dict[str, Side] = {"fp32": exact.encode_image}
    for name in (*ALLOWED, "integer"):
        if name in names:
            arrays, modules = quantized(copy.deepcopy(exact), pixels[:8], FORMATS.get(name, {"bits": 8}))
            model = copy.deepcopy(exact)
            restore(model, arrays, modules)
            use_backend(model.requires_grad_(False), "integer" if name == "integer" else "simulate", "ViT-B-32")
            found[name] = model.encode_image
    for name, make in (("brevitas", with_brevitas), ("nncf", with_nncf), ("openvino", with_openvino)):
        if name in names:
            found[name] = make(copy.deepcopy(exact), pixels)
    return found


def quantized(
    model: torch.nn.Module, pixels: torch.Tensor, words: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Round weights to nearest, and inputs by their range on some images or, in blocks, by their own."""
    unpack_attention(model)
    weights = Grid(**{"granularity": "channel", **words})
    inputs = Grid(**words, dynamic=weights.granularity == "group")
    made = insert_twins(model, layers(model), weights, inputs)
    largest: dict[str, float] = {}
    handles = [
        layer.register_forward_pre_hook(lambda _, x, name=name: largest.update({name: x[0].abs().max().item()}))
        for name, layer in made.items()
    ]
    model.encode_image(pixels)
    for handle in handles:
        handle.remove()
    for name, layer in made.items():
        layer.input = (
            DynamicInput(fitted(torch.tensor(largest[name]), inputs))
            if inputs.dynamic
            else StaticInput(inputs, largest[name] / inputs.high)
        )
        layer.freeze_absmax()
    return export(Clip(model, tokens, 224, (0.5,) * 3, (0.25,) * 3), "image")


def with_brevitas(model: torch.nn.Module, pixels: torch.Tensor) -> Side:
    """Put brevitas's fake quantization, 8 bits of weights and inputs, on the same layers."""
    from brevitas.nn import QuantLinear
    from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat

    unpack_attention(model)
    for name in layers(model):
        inner, (parent, _, leaf) = model.get_submodule(name), name.rpartition(".")
        words = {"input_quant": Int8ActPerTensorFloat, "weight_quant": Int8WeightPerChannelFloat}
        made = QuantLinear(inner.in_features, inner.out_features, bias=inner.bias is not None, **words)
        made.load_state_dict(inner.state_dict(), strict=False)
        setattr(model.get_submodule(parent), leaf, made)
    model.train().encode_image(pixels[:8])  # brevitas collects ranges in training mode
    return model.eval().encode_image


def with_nncf(model: torch.nn.Module, pixels: torch.Tensor) -> Side:
    """Let NNCF put its fake quantization, 8 bits of weights and inputs, into the torch model."""
    engines.openvino()  # NNCF reports what it does as OpenVINO does
    import nncf

    unpack_attention(model)
    data = nncf.Dataset([pixels[:8]])
    return nncf.quantize(model.visual, data, model_type=nncf.ModelType.TRANSFORMER, fast_bias_correction=True)


def with_openvino(model: torch.nn.Module, pixels: torch.Tensor) -> Side:
    """Compile the tower that NNCF has quantized to 8 bits."""
    openvino = engines.openvino()
    import nncf

    traced = openvino.convert_model(model.visual, example_input=pixels)
    whole = nncf.quantize(traced, nncf.Dataset([pixels[:8].numpy()]), model_type=nncf.ModelType.TRANSFORMER)
    compiled = openvino.Core().compile_model(whole, "CPU", {"INFERENCE_NUM_THREADS": 1})
    return lambda x: compiled(x.numpy())


@torch.no_grad()
def ratios(
    names: list[str], repeats: int, batch: int, blocks: int, /
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Time the sides in turns: each one's seconds over FP32's, turn by turn, and the median seconds."""
    torch.set_num_threads(1)
    pixels = torch.randn(batch, 224, 224, 3).permute(0, 3, 1, 2)  # channels last in memory, as evaluation has them
    found = sides(names, pixels, blocks)
    seconds: dict[str, list[float]] = {name: [] for name in found}
    outputs = {}
    for turn in range(repeats + 1):
        for name, run in found.items():
            start = time.process_time()
            outputs[name] = run(pixels)
            if turn:  # the first turn warms up
                seconds[name].append(time.process_time() - start)
    medians = {name: median(times) for name, times in seconds.items()}
    for name, value in medians.items():
        print(f"{name:10} {value:7.3f} s a batch of {batch}  {batch / value:6.1f} images/s{apart(outputs, name)}")
    return {n: [a / b for a, b in zip(s, seconds["fp32"], strict=True)] for n, s in seconds.items()}, medians


def apart(outputs: dict[str, Any], name: str) -> str:
    if not isinstance(outputs[name], torch.Tensor) or name == "fp32":
        return ""
    of = "simulate" if name == "integer" and "simulate" in outputs else "fp32"
    return f"  {((outputs[name] - outputs[of]).norm() / outputs[of].norm()).item():.1e} from {of}"


def sizes() -> list[int]:
    """Return the repeats, the batch and the blocks that the command line asks for."""
    return [int(word) for word in [*sys.argv[1:], *("5", "64", "12")[len(sys.argv) - 1 :]]]


def main() -> int:
    missing = absent(*PEERS)
    needing = {"openvino": ["nncf", "openvino"]}  # which runs what NNCF has quantized
    peers = [name for name in PEERS if not {*needing.get(name, [name])} & {*missing}]
    found, medians = ratios([*ALLOWED, "integer", *peers], *sizes())
    over = {name: median(found[name]) for name in ALLOWED}
    ratio = max(over[name] / allowed for name, allowed in ALLOWED.items())
    facts = {"over_fp32": over, "allowed": ALLOWED, "medians": medians}
    report = {"name": "forward", "ratio": ratio, "target": 1.0, "better": "lower", **facts}
    print(json.dumps(report | {"absent": missing}))
    return ABSENT if missing else 0


if __name__ == "__main__":
    sys.exit(main())
