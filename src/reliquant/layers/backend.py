"""How a quantized variant is computed: simulated in floating point, or with products of integers."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, TypedDict

import torch
from torch import nn

from reliquant.layers.int8 import Activation
from reliquant.layers.integer import GROUPED, IntegerLinear, integer_twin, slow, unfit
from reliquant.layers.products import pieces
from reliquant.layers.surgery import twins
from reliquant.layers.twins import Twin
from reliquant.models.openclip import open_clip

# isort: split
from timm import layers as timm  # imported after open_clip, which comes with a shim for torchvision
from timm.models.vision_transformer import Block

Backend = Literal["auto", "simulate", "integer"]


class Used(TypedDict):
    """Which backend computes a model: what was asked for, what is used, and which layers are simulated for a reason."""

    asked: Backend
    used: Literal["fp32", "simulate", "mixed", "integer"]
    integer_layers: int
    simulated_layers: dict[str, list[str]]  # reason -> names


ATTENTION = "attention rounds the factors of its products, which stay floating-point ones"
QUICK = (open_clip.transformer.QuickGELU, timm.QuickGELU)


def use_backend(model: nn.Module, backend: Backend, variant: str, /) -> Used:
    """Replace twins by integer ones, in place, where a backend wants them; say what is computed how.

    `integer` replaces all twins but grouped convolutions, and raises ValueError with variant, layer and reason where it
    cannot; `auto` replaces those that can multiply integers and are faster that way; `simulate` replaces none. A model
    without twins (FP32) stays as it is. The answer has `asked`, `used` (`fp32`, `simulate`, `mixed` or `integer`),
    `integer_layers` (how many) and `simulated_layers` (reason -> names).
    """
    layers = twins(model)
    reasons = {name: "asked for" if backend == "simulate" else unfit(layer) for name, layer in layers.items()}
    if backend == "integer":
        _require_all(reasons, variant)
    if backend == "auto":
        reasons = {name: reasons[name] or slow(layer) for name, layer in layers.items()}
    _replace(model, {name: layer for name, layer in layers.items() if not reasons[name]})
    simulated: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if reason:
            simulated.setdefault(reason, []).append(name)
    attention = list(pieces(model))
    if attention:
        simulated[ATTENTION] = attention
    integer = sum(not reason for reason in reasons.values())
    return {
        "asked": backend,
        "used": _used(len(layers) + len(attention), integer),
        "integer_layers": integer,
        "simulated_layers": simulated,
    }


def _used(layers: int, integer: int) -> Literal["fp32", "simulate", "mixed", "integer"]:
    if not layers:
        return "fp32"
    if not integer:
        return "simulate"
    return "integer" if integer == layers else "mixed"


def _require_all(reasons: dict[str, str], variant: str) -> None:
    for name, reason in reasons.items():
        if reason not in ("", GROUPED):
            raise ValueError(f"{variant}: backend integer cannot compute {name}: {reason}; simulate or auto can")
    if reasons and all(reasons.values()):
        raise ValueError(f"{variant}: backend integer has nothing to compute: {GROUPED}")


def _replace(model: nn.Module, layers: dict[str, Twin]) -> None:
    for name, layer in layers.items():
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, integer_twin(layer))
    for parent in list(model.modules()):
        for first, last in pairwise(_linears_of_mlp(parent)):
            _join(parent, first, last)
    for parent in list(model.modules()):
        for name, block in list(parent.named_children()):
            joined = _joined(block)
            if joined is not block:
                setattr(parent, name, joined)


def _linears_of_mlp(parent: nn.Module) -> list[str]:
    """Name the two Linears of a module that is Linear, activation, Linear and nothing else; [] for other modules."""
    names = list(dict(parent.named_children()))
    if type(parent) is nn.Sequential and len(names) == 3:
        return [names[0], names[2]]
    if type(parent) is timm.Mlp and isinstance(parent.norm, nn.Identity):
        return ["fc1", "fc2"]
    return []


def _join(parent: nn.Module, first_name: str, last_name: str) -> None:
    """Let the first product apply the activation, and round for the second one if that takes uint8 codes."""
    names = list(dict(parent.named_children()))
    act = names[names.index(first_name) + 1]
    first, last, kind = getattr(parent, first_name), getattr(parent, last_name), _activation(getattr(parent, act))
    if not (isinstance(first, IntegerLinear) and first.ends_in_product and kind):
        return
    takes = isinstance(last, IntegerLinear) and last.takes_codes
    if kind == "quick gelu" and not takes:
        return  # only the step of the codes can undo its factor of 1.702
    first.product.then(kind, *((last.rounding.scale, int(last.rounding.zero + last.shift)) if takes else ()))
    setattr(parent, act, nn.Identity())


class OpenClipBlock(open_clip.transformer.ResidualAttentionBlock):
    """A block whose last product adds to the sum that the block has just made, which saves a pass over it.

    It takes over the modules, hooks and settings of the block that it replaces, under the same names.
    """

    def __init__(self, block: open_clip.transformer.ResidualAttentionBlock, /) -> None:
        nn.Module.__init__(self)  # the block's own makes new layers
        vars(self).update(vars(block))

    def forward(
        self, q_x: torch.Tensor, k_x: None = None, v_x: None = None, attn_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return (n, l, d) for (n, l, d)."""
        x = q_x + self.ls_1(self.attention(self.ln_1(q_x), attn_mask=attn_mask))
        first, _, last = self.mlp
        return last.add_to(x, first(self.ln_2(x)))


class TimmBlock(Block):
    """The same for timm's block."""

    def __init__(self, block: Block, /) -> None:
        nn.Module.__init__(self)
        vars(self).update(vars(block))

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None, is_causal: bool = False) -> torch.Tensor:
        """Return (n, l, d) for (n, l, d)."""
        x = x + self.ls1(self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal))
        return self.mlp.fc2.add_to(x, self.mlp.fc1(self.norm2(x)))


def _joined(block: nn.Module) -> nn.Module:
    """Replace a transformer's block by one whose last product, of codes, adds to the stream; others stay."""
    if type(block) is open_clip.transformer.ResidualAttentionBlock and not hasattr(block, "ln_1_kv"):
        joined, scale = OpenClipBlock, block.ls_2
    elif type(block) is Block:
        joined, scale = TimmBlock, block.ls2
    else:
        return block
    names = _linears_of_mlp(block.mlp)
    first = getattr(block.mlp, names[0]) if names else None
    if isinstance(scale, nn.Identity) and isinstance(first, IntegerLinear) and first.product.step:
        return joined(block)
    return block


def _activation(module: nn.Module) -> Activation | None:
    if type(module) is nn.GELU:
        return "gelu" if module.approximate == "none" else "gelu tanh"
    if type(module) is timm.GELU:
        return "gelu"
    return "quick gelu" if isinstance(module, QUICK) else None
