"""A tower whose quantized layers are marks: it is traced once, and each variant is written into what was traced.

A mark stands where an input is rounded (`Input`) or where a weight stands for its codes (`Weight`). Its attribute
`place` names the layer, or the attention and the factor of its products. Marks are nodes of a domain of their own,
which no runtime knows: `filling.py` puts what a variant holds in their place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import conv2d, normalize

from reliquant.layers.products import pieces
from reliquant.layers.surgery import places_of, twins
from reliquant.layers.transforms import Rotation
from reliquant.layers.twins import QuantConv2d, Twin
from reliquant.models.clip import Clip

# isort: split
from reliquant.layers.plain import timm

DOMAIN = "reliquant"
Tower = Literal["image", "text"]
TOWERS: tuple[Tower, ...] = ("image", "text")
INPUT_OF: dict[Tower, str] = {"image": "pixels", "text": "tokens"}
OUTPUT = "embedding"


def _mark(kind: str, x: torch.Tensor, place: str, shape: Any) -> torch.Tensor:
    words = {"attrs": {"place": place}, "dtype": torch.float32, "shape": shape, "version": 1}
    return torch.onnx.ops.symbolic(f"{DOMAIN}::{kind}", (x,), **words)


class WrittenLayer(nn.Module):
    """Hold what a twin's place in a written tower has in common, marked or coded: all but its input and its weight."""

    def __init__(self, layer: Twin, /) -> None:
        super().__init__()
        self.transform, self.bias = layer.transform, layer.bias
        self.int8_original_dtype = layer.weight.dtype  # open_clip reads it from its MLPs in place of weight.dtype
        self.is_convolution = isinstance(layer, QuantConv2d)
        if isinstance(layer, QuantConv2d):
            self.pads_same = layer.pads_same
            self.words = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}

    def convolved(self, x: torch.Tensor, weight: torch.Tensor, /) -> torch.Tensor:
        """Return the convolution of x (n, c, h, w) with a weight, as the twin has it."""
        if self.pads_same:
            x = timm.pad_same(x, weight.shape[-2:], self.words["stride"], self.words["dilation"])
        return conv2d(x, weight, self.bias, **self.words)


class MarkedLayer(WrittenLayer):
    """Compute what a twin computes, with marks in place of its rounded input and its codes.

    The weight of a Linear is marked as (i, o), as a product of matrices takes it; that of a convolution as it is.
    """

    def __init__(self, layer: Twin, place: str, /) -> None:
        super().__init__(layer)
        self.place = place
        self.register_buffer("mark", torch.zeros(()))
        self.shape = tuple(layer.weight.shape if self.is_convolution else layer.weight.t().shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output for its input, as the twin has it."""
        x = self.transform(x)
        x = _mark("Input", x, self.place, x.shape)
        weight = _mark("Weight", self.mark, self.place, self.shape)
        if self.is_convolution:
            return self.convolved(x, weight)
        out = x @ weight
        return out if self.bias is None else out + self.bias


class MarkedFactor(nn.Identity):
    """Mark a factor of an attention's products."""

    def __init__(self, place: str, /) -> None:
        super().__init__()
        self.place = place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the factor, of its shape."""
        return _mark("Input", x, self.place, x.shape)


class TowerModule(nn.Module):
    """Return the unit embeddings (n, d) of a tower's inputs: pixels (n, 3, h, w) or tokens (n, context)."""

    def __init__(self, model: nn.Module, tower: Tower, /) -> None:
        super().__init__()
        self.model, self.tower = model, tower

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed a batch."""
        encode = self.model.encode_image if self.tower == "image" else self.model.encode_text
        return normalize(encode(x, normalize=False).float(), dim=-1)


def marked(clip: Clip, tower: Tower, /) -> TowerModule:
    """Return a tower of a model, which shares its tensors, with marks in place of twins and rounded factors."""
    model = copied(clip, tower)
    replace_twins(model, MarkedLayer)
    for module in model.modules():
        if isinstance(module, Rotation):  # OpenVINO takes numbers of int8 for codes, and turns them into other ones
            module.signs = module.signs.float()
    for name, piece in pieces(model).items():
        for role in piece.roles:
            setattr(piece, role, MarkedFactor(factor_place(name, role)))
    return TowerModule(model, tower).eval()


def replace_twins(model: nn.Module, make: Callable[[Twin, str], nn.Module], /) -> None:
    """Put what `make` returns for a twin and its name in all places of the twin, in place."""
    places = places_of(model)
    for name, layer in twins(model).items():
        made = make(layer, name)
        for parent, leaf in places[id(layer)]:
            setattr(parent, leaf, made)


def copied(clip: Clip, tower: Tower, /) -> nn.Module:
    """Return a copy of a model, which shares its tensors, without the modules of its other tower."""
    shared = {id(tensor): tensor for tensor in [*clip.model.parameters(), *clip.model.buffers()]}
    model = copy.deepcopy(clip.model, shared)
    own, other = (clip.parts.image, clip.parts.text) if tower == "image" else (clip.parts.text, clip.parts.image)
    for name in set(other) - set(own):
        parent, _, leaf = name.rpartition(".")
        holder = model.get_submodule(parent)
        if not any(kept.startswith(f"{name}.") for kept in own) and not isinstance(
            holder, nn.Sequential | nn.ModuleList
        ):
            setattr(holder, leaf, None)
    return model


def factor_place(attention: str, role: str, /) -> str:
    """Return the place of a factor of an attention's products: `q`, `k`, `v` or `probabilities`."""
    return f"{attention}:{role}"


def example(clip: Clip, tower: Tower, /) -> torch.Tensor:
    """Return inputs that a tower can take, of the right shape and type: two of them."""
    if tower == "image":
        return torch.zeros(2, 3, *clip.shape)
    return clip.tokenizer(["a photo", "a drawing"])


def tensors_of(model: nn.Module, /) -> dict[str, torch.Tensor]:
    """Return all parameters and buffers of a model by name; what is shared has each of its names."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return dict(named)
