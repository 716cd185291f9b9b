"""Prepare a CLIP-like model for quantization: unpack attention, find the layers inside the blocks, insert twins."""

from __future__ import annotations

import re
from typing import Literal

from torch import nn

from reliquant.grid import Grid
from reliquant.layers.attention import CrossAttention, NormedAttention, SelfAttention
from reliquant.layers.twins import Twin, twin
from reliquant.models.openclip import open_clip

Scope = Literal["none", "image", "both"]
BLOCKS = re.compile(r"(^|\.)(resblocks|blocks|layers?\d*)\.\d+\.")  # of transformers, ConvNeXt, ResNet, EfficientNet
IMAGE_TOWER = "visual."
NO_TOWER = ("logit_scale", "logit_bias", "text_decoder.")  # CoCa's decoder writes captions; zero-shot does not use it


def unpack_attention(model: nn.Module, /) -> None:
    """Replace every packed attention, torch's and open_clip's own, by Linears that share its parameters, in place.

    open_clip's ViT hides a third of its block weights in them: `in_proj_weight` is no Linear, and the `out_proj` of
    nn.MultiheadAttention is a Linear that is never called. Outputs change by floating-point rounding only.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MultiheadAttention):
                crossed = isinstance(parent, open_clip.transformer.AttentionalPooler) or hasattr(parent, "ln_1_kv")
                setattr(parent, name, (CrossAttention if crossed else SelfAttention)(child))
            elif isinstance(child, open_clip.transformer.Attention):
                setattr(parent, name, NormedAttention(child))


def tower_of(name: str, /) -> Literal["image", "text"]:
    """Say which tower a module or parameter belongs to, by its name in an open_clip model."""
    return "image" if name.startswith(IMAGE_TOWER) else "text"


def in_scope(name: str, scope: Scope, /) -> bool:
    """Whether a module or parameter belongs to the towers that a scope quantizes; the logit scale belongs to none."""
    if name.startswith(NO_TOWER):
        return False
    return scope == "both" or (scope == "image" and tower_of(name) == "image")


def targets(model: nn.Module, scope: Scope, /) -> list[str]:
    """List the Linear and Conv2d modules inside the blocks of the towers in scope, in the order of the model.

    LayerNorm, softmax, attention products, patch embedding, downsampling and final projection stay FP32, as in the
    first author's code (docs/fidelity.md).
    """
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and BLOCKS.search(name) and in_scope(name, scope)
    ]


def insert_twins(model: nn.Module, names: list[str], weight: Grid, activation: Grid, /) -> dict[str, Twin]:
    """Replace the named layers by their quantized twins, in place; return the twins by name.

    A layer that is a twin already stays, with what was prepared in it, and takes the given grids.
    """
    made = {}
    for name in names:
        inner = model.get_submodule(name)
        if isinstance(inner, Twin):
            inner.weight_grid, inner.activation_grid = weight, activation
            made[name] = inner
            continue
        made[name] = twin(inner, weight, activation)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, made[name])
    return made


def twins(model: nn.Module, /) -> dict[str, Twin]:
    """Return the quantized twins of a model by module name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Twin)}
