"""Variants of tiny models as ONNX files: each structure is traced once, as an exporter does it."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from reliquant.deploy.filling import filled, problems
from reliquant.deploy.marking import TowerModule
from reliquant.layers.surgery import unpack
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy
from reliquant.quantization.quantize import quantize
from reliquant.study.scheme import scheme_entry

TOKEN = {"granularity": "token", "dynamic": True}
BOTH = {**TOKEN, "symmetric": False}
GROUP = {"granularity": "group", "group": 16}
# what is written by each grid, method and piece: kind of the model, entry, precision
# (`vit` has two blocks in each tower, `wide` one, `convnext` one of text and one in each of its first two stages)
CASES = {
    "tensor and channel": ("vit", {"quantizer": "rtn"}, "w8a8"),
    "one scale for all of a weight": ("wide", {"quantizer": "rtn", "weight": {"granularity": "tensor"}}, "w8a8"),
    "six bits in eight": ("wide", {"quantizer": "rtn"}, "w6a6"),
    "four bits": ("wide", {"quantizer": "rtn"}, "w4a8"),
    "three bits in four": ("wide", {"quantizer": "rtn"}, "w3a8"),
    "ten bits in sixteen": ("wide", {"quantizer": "rtn"}, "w10a10"),
    "sixteen-bit floating inputs": ("wide", {"quantizer": "rtn"}, "w4a16"),
    "groups": ("wide", {"quantizer": "rtn", "weight": GROUP}, "w4a8"),
    "groups with zero points": ("wide", {"quantizer": "rtn", "weight": {**GROUP, "symmetric": False}}, "w4a16"),
    "groups that do not divide": ("wide", {"quantizer": "rtn", "weight": {**GROUP, "group": 20}}, "w4a8"),
    "zero points": ("wide", {"quantizer": "rtn", "weight": {"symmetric": False}}, "w4a8"),
    "unsigned inputs": ("wide", {"quantizer": "rtn", "activation": {"symmetric": False, "signed": False}}, "w8a8"),
    "inputs with a zero point": ("wide", {"quantizer": "rtn", "activation": {"symmetric": False}}, "w8a6"),
    "a scale for each token": ("vit", {"quantizer": "rtn", "activation": TOKEN}, "w8a8"),
    "a scale and zero for each token": (
        "wide",
        {"quantizer": "rtn", "activation": {**TOKEN, "symmetric": False}},
        "w8a8",
    ),
    "a scale for each batch": (
        "wide",
        {"quantizer": "rtn", "activation": {"dynamic": True, "symmetric": False}},
        "w8a6",
    ),
    "fp8": ("wide", {"quantizer": "rtn"}, "fp8"),
    "fp8 of weights alone": ("wide", {"quantizer": "rtn"}, "wfp8a16"),
    "floating zero points in FP16": ("wide", {"quantizer": "hqq", "weight": {"group": 16}}, "w4a16"),
    "half steps": ("wide", {"quantizer": "statsq", "iterations": 2, "batch": 16}, "w4a8"),
    "half steps of two bits": ("wide", {"quantizer": "dorefa", "iterations": 2, "batch": 16}, "w2a8"),
    "learned offsets": ("wide", {"quantizer": "lsq_plus", "iterations": 3, "batch": 16}, "w8a8"),
    "spared columns": ("wide", {"quantizer": "llm_int8", "threshold": 1.0}, "w8a8"),
    "spared columns of tokens": ("wide", {"quantizer": "llm_int8", "threshold": 1.0, "activation": TOKEN}, "w8a8"),
    "held rows": ("wide", {"quantizer": "raana"}, "w3a8"),
    "rotations": ("wide", {"quantizer": "quarot"}, "w4a8"),
    "multiplied channels": ("vit", {"quantizer": "smoothquant"}, "w8a8"),
    "reparametrized": ("wide", {"quantizer": "repq"}, "w4a8"),
    "weights by their errors": ("wide", {"quantizer": "gptq"}, "w4a8"),
    "compensated": ("wide", {"quantizer": "rtn", "compensation": "qwt"}, "w4a8"),
    "attention": ("wide", {"quantizer": "rtn", "layers": {"attention": "all"}}, "w8a8"),
    "attention with a scale for each token": (
        "wide",
        {"quantizer": "rtn", "layers": {"attention": "all"}, "activation": TOKEN},
        "w8a8",
    ),
    "convolutions": ("convnext", {"quantizer": "rtn"}, "w8a8"),
    "convolutions of four bits": ("convnext", {"quantizer": "rtn"}, "w4a8"),
    "convolutions in groups": ("convnext", {"quantizer": "rtn", "weight": GROUP}, "w4a8"),
    "convolutions with zero points": ("convnext", {"quantizer": "rtn", "weight": {"symmetric": False}}, "w4a8"),
    "convolutions of tokens": ("convnext", {"quantizer": "rtn", "activation": TOKEN}, "w8a8"),
    "convolutions with offsets": ("convnext", {"quantizer": "lsq_plus", "iterations": 3, "batch": 16}, "w8a8"),
    "convolutions of fp8": ("convnext", {"quantizer": "rtn"}, "fp8"),
}
REFUSED = {  # what ONNX cannot say: what is at fault, and the reason
    "mx formats": ({"quantizer": "rtn"}, "mxfp8", "inputs", "one scale per block of a token"),
    "mx formats of weights": ({"quantizer": "rtn"}, "wmxfp8a16", "weights", "scales are numbers of E8M0"),
    "fp4": ({"quantizer": "rtn"}, "wmxfp4a16", "weights", "weights are numbers of e2m1"),
    "fp6": ({"quantizer": "rtn"}, "wmxfp6a16", "weights", "weights are numbers of e2m3"),
    "nvfp4": ({"quantizer": "rtn"}, "wnvfp4a16", "weights", "weights are numbers of e2m1"),
    "blocks of inputs": (
        {"quantizer": "rtn", "activation": {"granularity": "group", "group": 16, "dynamic": True}},
        "w8a8",
        "inputs",
        "one scale per block of a token",
    ),
    "half octaves": (
        {"quantizer": "repq", "layers": {"attention": {"image": "all", "probabilities": "log_sqrt2"}}},
        "w8a8",
        "inputs",
        "half octaves (log-sqrt2)",
    ),
    "fp8 scaled by each token": (
        {"quantizer": "rtn", "activation": TOKEN},
        "fp8",
        "inputs",
        "small floats whose scale",
    ),
}


@dataclass
class Towers:
    """Make variants, and write their towers."""

    new: object
    template: object  # a function: the trace of a tower, the same for all variants of its structure
    made: dict = field(default_factory=dict)

    def small(self, kind):
        """Return a tiny model; of a ConvNeXt, whose blocks are all alike, with two of them, and one of its text."""
        clip = self.new(kind)
        if kind == "convnext":
            for stage in clip.model.visual.trunk.stages[2:]:
                del stage.blocks[:]
            del clip.model.transformer.resblocks[1:]
        return replace(clip)  # which finds its own blocks

    def variant(self, kind, entry, precision, scope="both"):
        """Return a tiny model that is quantized by an entry, by `none` where it has no precision."""
        key = (kind, repr(entry), precision, scope)
        if key not in self.made:
            clip = self.small(kind)
            if precision is None:
                unpack(clip)
            else:
                rng = np.random.default_rng(0)
                images = rng.integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
                proxy = Proxy(images, [f"{i} in words" for i in rng.integers(0, 30, 16)])
                quantize(clip, scheme_entry(entry, precision), scope, proxy, Checkpoints())
            self.made[key] = clip.with_model(clip.model.eval())
        return self.made[key]

    def write(self, path, clip, tower="image", **words):
        """Write a tower as ONNX, and return the path."""
        ir.save(filled(self.template(clip, tower), clip, tower, **words), path)
        return Path(path)


@pytest.fixture(scope="session")
def towers(new_clip, shared_trace):
    """What makes variants and their towers."""
    return Towers(new_clip, shared_trace)


@pytest.fixture(scope="session", params=list(CASES))
def written(request, towers, tmp_path_factory):
    """Each case: the variant, and its image tower as a file."""
    clip = towers.variant(*CASES[request.param])
    assert problems(clip, "image") == {"inputs": {}, "weights": {}}
    return clip, towers.write(tmp_path_factory.mktemp("tower") / "image.onnx", clip)


@pytest.fixture(scope="session", params=list(REFUSED))
def unsayable(request, towers):
    """Each variant that ONNX cannot say: itself, what is at fault, and why."""
    entry, precision, fault, reason = REFUSED[request.param]
    return towers.variant("wide", entry, precision, "image"), fault, reason


@pytest.fixture(scope="session")
def inputs():
    return inputs_of


@pytest.fixture(scope="session")
def simulated():
    return simulated_by


@pytest.fixture(scope="session")
def seen_by_reference():
    return values_of


def inputs_of(clip, tower, count=3, seed=1):
    """Return random pixels (n, 3, h, w), or tokens (n, context)."""
    rng = np.random.default_rng(seed)
    if tower == "image":
        return rng.normal(size=(count, 3, *clip.shape)).astype(np.float32)
    words = ["a cat", "two", "photo of", "red"]
    return clip.tokenizer([f"{words[i % 4]} {i}" for i in rng.integers(0, 99, count)]).numpy()


def simulated_by(clip, tower, batch):
    """Return the simulation's unit embeddings."""
    with torch.no_grad():
        return TowerModule(clip.model, tower)(torch.from_numpy(batch)).numpy()


def values_of(path, batch, kinds=("QuantizeLinear",)):
    """Run ONNX's reference evaluator: return the output, and the first input and output of each node of some kinds."""
    model = onnx.load(path)
    nodes = [node for node in model.graph.node if node.op_type in kinds]
    names = list(dict.fromkeys(name for node in nodes for name in (node.input[0], node.output[0])))
    own = model.graph.output[0].name
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name != own)
    found = ReferenceEvaluator(model).run([own, *names], {model.graph.input[0].name: batch})
    values = dict(zip([own, *names], found, strict=True))
    return values[own], {node.name: (values[node.input[0]], values[node.output[0]]) for node in nodes}
