"""A tower as a program of torch.export: weights are stored as codes, and computed from them as it runs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn.functional import linear, pad

from reliquant.deploy.marking import Tower, TowerModule, WrittenLayer, copied, example, replace_twins
from reliquant.deploy.tracing import program_of
from reliquant.files.artifacts import whole
from reliquant.layers.arithmetic import code_type, dequantize
from reliquant.layers.twins import SparedInput, Twin
from reliquant.models.clip import Clip

TRACES = ("stack_trace", "source_fn_stack", "from_node")  # where torch notes lines of code and paths of this machine


class CodedLayer(WrittenLayer):
    """Compute what a twin computes, from codes: in bytes, or two in a byte where they have at most four bits."""

    def __init__(self, layer: Twin, /) -> None:
        super().__init__(layer)
        self.input, self.held = layer.input, layer.held
        self.grid, self.shape, self.kind = layer.weight_grid, tuple(layer.weight.shape), layer.weight.dtype
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
        return self.convolved(x, weight) if self.is_convolution else linear(x, weight, self.bias)


def program(clip: Clip, tower: Tower, /) -> torch.export.ExportedProgram:
    """Return a tower of a variant as a program for any batch, that returns unit embeddings (n, d).

    Raises ValueError with torch's reason where the tower cannot be traced.
    """
    model = copied(clip, tower)
    replace_twins(model, lambda layer, _: CodedLayer(layer))
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
