"""A tower as a program of torch.export: weights are stored as codes, and computed from them as it runs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import conv2d, linear, pad

from reliquant.deploy.marking import Tower, TowerModule, copied, example
from reliquant.deploy.tracing import program_of
from reliquant.files.artifacts import whole
from reliquant.layers.arithmetic import code_type, dequantize
from reliquant.layers.plain import timm
from reliquant.layers.surgery import twins
from reliquant.layers.twins import QuantConv2d, SparedInput, Twin
from reliquant.models.clip import Clip

TRACES = ("stack_trace", "source_fn_stack", "from_node")  # where torch notes lines of code and paths of this machine


class CodedLayer(nn.Module):
    """Compute what a twin computes, from codes: in bytes, or two in a byte where they have at most four bits."""

    def __init__(self, layer: Twin, /) -> None:
        super().__init__()
        self.transform, self.input, self.held, self.bias = layer.transform, layer.input, layer.held, layer.bias
        self.grid, self.shape, self.kind = layer.weight_grid, tuple(layer.weight.shape), layer.weight.dtype
        self.int8_original_dtype = layer.weight.dtype  # open_clip reads it from its MLPs in place of weight.dtype
        self.is_packed = self.grid.bits <= 4
        if layer.codes is None:
            self.weight = layer.weight
        else:
            self.register_buffer(
                "codes", _packed(layer.codes - int(self.grid.first_code)) if self.is_packed else layer.codes
            )
            self.register_buffer("scale", layer.weight_scale)
            self.register_buffer("zero", layer.weight_zero.contiguous())
        if isinstance(layer.input, SparedInput):
            self.register_buffer("columns", layer.input.columns.long())
            self.register_buffer("spared", layer.spared)
        self.convolution = None
        if isinstance(layer, QuantConv2d):
            self.pads_same = layer.pads_same
            self.convolution = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}

    def numbers(self) -> torch.Tensor:
        """Return the weight that the codes stand for, as the twin has it, to the bit."""
        if not hasattr(self, "codes"):
            return self.weight
        codes = self.codes
        if self.is_packed:
            count = torch.Size(self.shape).numel()
            codes = torch.stack([codes & 15, codes >> 4], dim=-1).reshape(-1)[:count].reshape(self.shape)
            codes = codes.to(code_type(self.grid)) + int(self.grid.first_code)
        value = dequantize(codes, self.scale, self.zero, self.grid).to(self.kind)
        value = value if self.held is None else self.held.beside(value)
        return value.index_copy(1, self.columns, self.spared.to(value.dtype)) if hasattr(self, "spared") else value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output for its input."""
        x, weight = self.input(self.transform(x)), self.numbers()
        if self.convolution is None:
            return linear(x, weight, self.bias)
        if self.pads_same:
            x = timm.pad_same(x, weight.shape[-2:], self.convolution["stride"], self.convolution["dilation"])
        return conv2d(x, weight, self.bias, **self.convolution)


def program(clip: Clip, tower: Tower, /) -> torch.export.ExportedProgram:
    """Return a tower of a variant as a program for any batch, that returns unit embeddings (n, d).

    Raises ValueError with torch's reason where the tower cannot be traced.
    """
    model = copied(clip, tower)
    layers = {id(layer): CodedLayer(layer) for layer in twins(model).values()}
    for parent in list(model.modules()):
        for leaf, child in list(parent.named_children()):
            if id(child) in layers:
                setattr(parent, leaf, layers[id(child)])
    return program_of(TowerModule(model, tower).eval(), example(clip, tower), tower)


def save_program(path: Path, clip: Clip, tower: Tower, /) -> None:
    """Write a tower as a file of torch.export (`.pt2`), whole or not at all."""
    made = program(clip, tower)
    for graph in [module.graph for module in made.graph_module.modules() if hasattr(module, "graph")]:
        for node in graph.nodes:
            for word in TRACES:
                node.meta.pop(word, None)
    with whole(path) as part:
        torch.export.save(made, part)


def _packed(codes: torch.Tensor) -> torch.Tensor:
    """Return codes from 0 to 15 as bytes, the first of two in the lower half."""
    flat = codes.reshape(-1).to(torch.uint8)
    flat = pad(flat, (0, len(flat) % 2))
    return flat[0::2] | (flat[1::2] << 4)
