"""How a quantized variant is computed: simulated in floating point, or with products of integers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn

from reliquant.layers.int8 import Activation
from reliquant.layers.integer import GROUPED, IntegerLinear, integer_twin, slow, unfit
from reliquant.layers.surgery import twins
from reliquant.layers.twins import Twin
from reliquant.models.openclip import open_clip

# isort: split
from timm import layers as timm  # after the shim
from timm.models.vision_transformer import Block

Backend = Literal["auto", "simulate", "integer"]
QUICK = (open_clip.transformer.QuickGELU, timm.QuickGELU)


def use_backend(model: nn.Module, backend: Backend, variant: str, /) -> dict[str, Any]:
    """Replace twins by integer ones, in place, where a backend wants them; say what is computed how.

    `integer` wants all but grouped convolutions, and raises ValueError naming variant, layer and reason where it cannot
    have them; `auto` wants those that can multiply integers and are faster so; `simulate` none. Without twins (FP32)
    there is nothing to choose.
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
    integer = sum(not reason for reason in reasons.values())
    used = "fp32" if not layers else "simulate" if not integer else "mixed" if simulated else "integer"
    return {"asked": backend, "used": used, "integer_layers": integer, "simulated_layers": simulated}


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
    for block in list(model.modules()):
        _join_residual(block)


def _linears_of_mlp(parent: nn.Module) -> list[str]:
    """Name the two Linears of a module that is surely Linear, activation, Linear and nothing else."""
    names = list(dict(parent.named_children()))
    if type(parent) is nn.Sequential and len(names) == 3:
        return [names[0], names[2]]
    if type(parent) is timm.Mlp and isinstance(parent.norm, nn.Identity):
        return ["fc1", "fc2"]
    return []


def _join(parent: nn.Module, first_name: str, last_name: str) -> None:
    """Let the first product apply the activation, and round for the second one where that takes uint8 codes."""
    names = list(dict(parent.named_children()))
    act = names[names.index(first_name) + 1]
    first, last, kind = getattr(parent, first_name), getattr(parent, last_name), _activation(getattr(parent, act))
    if not (isinstance(first, IntegerLinear) and first.ends_in_product and kind):
        return
    takes = isinstance(last, IntegerLinear) and last.takes_codes
    if kind == "quick gelu" and not takes:
        return  # its factor of 1.702 is undone by the step of the codes alone
    first.product.then(kind, *((last.rounding.scale, int(last.rounding.zero + last.shift)) if takes else ()))
    setattr(parent, act, nn.Identity())


class OpenClipBlock(open_clip.transformer.ResidualAttentionBlock):
    """A block whose last product adds to the sum that the block itself has just made: one pass less over it."""

    def forward(
        self, q_x: torch.Tensor, k_x: None = None, v_x: None = None, attn_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return (n, l, d) for (n, l, d)."""
        x = q_x + self.ls_1(self.attention(self.ln_1(q_x), attn_mask=attn_mask))
        first, _, last = self.mlp
        return last.add_to(x, first(self.ln_2(x)))


class TimmBlock(Block):
    """The same for timm's block."""

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None, is_causal: bool = False) -> torch.Tensor:
        """Return (n, l, d) for (n, l, d)."""
        x = x + self.ls1(self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal))
        return self.mlp.fc2.add_to(x, self.mlp.fc1(self.norm2(x)))


def _join_residual(block: nn.Module) -> None:
    """Let the last product of a transformer's block, of codes, add to the stream."""
    if type(block) is open_clip.transformer.ResidualAttentionBlock and not hasattr(block, "ln_1_kv"):
        joined, scale = OpenClipBlock, block.ls_2
    elif type(block) is Block:
        joined, scale = TimmBlock, block.ls2
    else:
        return
    names = _linears_of_mlp(block.mlp)
    first = getattr(block.mlp, names[0]) if names else None
    if isinstance(scale, nn.Identity) and isinstance(first, IntegerLinear) and first.product.step:
        block.__class__ = joined  # the same modules under the same names


def _activation(module: nn.Module) -> Activation | None:
    if type(module) is nn.GELU:
        return "gelu" if module.approximate == "none" else "gelu tanh"
    if type(module) is timm.GELU:
        return "gelu"
    return "quick gelu" if isinstance(module, QUICK) else None
