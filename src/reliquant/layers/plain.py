"""What a layer computes: a plain product or convolution with one weight, or it has no twin and is refused by its class.

Subclasses of Linear and Conv2d may have a forward of their own: timm's pad by the size of their input or standardise
their weight, adapters add to the output. A twin must do the same; a weight that depends on parameters alone
(standardised, parametrized, weight or spectral norm) is folded before it is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

import reliquant.models.openclip  # noqa: F401  must come before timm

# isort: split
from timm import layers as timm

LINEAR = (nn.Linear, timm.Linear)  # classes whose forward, inherited or own, is that of nn.Linear
PLAIN = (nn.Conv2d, timm.StdConv2d, timm.ScaledStdConv2d)
SAME = (timm.Conv2dSame, timm.StdConv2dSame, timm.ScaledStdConv2dSame)  # pad by the size of their input
STANDARDISED = (timm.StdConv2d, timm.StdConv2dSame, timm.ScaledStdConv2d, timm.ScaledStdConv2dSame)


@dataclass(frozen=True)
class Plain:
    """Hold the one weight and bias that a layer computes with, and whether it pads by the size of its input."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    pads_same: bool = False


def plain(layer: nn.Module, /) -> Plain:
    """Return what a Linear or Conv2d computes with: its own parameters, or those folded from them.

    Raises ValueError with the class of a layer whose forward is not known.
    """
    if not _is_one_of(layer, (*LINEAR, *PLAIN, *SAME)):
        raise ValueError(
            f"a {_class(layer)} has a forward of its own, which no twin is known to do; there are twins of nn.Linear, "
            "of nn.Conv2d and of timm's padded and standardised convolutions (merge adapters before quantizing)"
        )
    if getattr(layer, "padding_mode", "zeros") != "zeros":
        raise ValueError(f"padding mode {layer.padding_mode!r} is not supported; only zeros is")
    same = _is_one_of(layer, SAME) and getattr(layer, "same_pad", True)
    return Plain(_weight(layer), _own(layer, "bias"), same)


@torch.no_grad()
def _weight(layer: nn.Module) -> nn.Parameter:
    if _is_one_of(layer, STANDARDISED):
        return nn.Parameter(_standardised(layer))
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm | SpectralNorm):
            hook(layer, ())  # sets the weight, which is no parameter then
    return _own(layer, "weight")


def _own(layer: nn.Module, name: str) -> nn.Parameter | None:
    """Return a parameter itself; a copy as a new one where it is computed from others."""
    value = getattr(layer, name)
    return value if value is None or isinstance(value, nn.Parameter) else nn.Parameter(value.detach().clone())


def _standardised(layer: nn.Conv2d) -> torch.Tensor:
    """Return the weight with zero mean and unit variance in each row, times its gain, as timm's forward has it."""
    gain = (layer.gain * layer.scale).view(-1) if hasattr(layer, "gain") else None
    rows = layer.weight.reshape(1, layer.out_channels, -1)
    value = nn.functional.batch_norm(rows, None, None, weight=gain, training=True, momentum=0.0, eps=layer.eps)
    return value.reshape_as(layer.weight)


def _is_one_of(layer: nn.Module, classes: tuple[type, ...]) -> bool:
    """Whether a layer computes what one of the classes does: subclasses may set up, but not compute, otherwise."""
    for known in classes:
        same = type(layer).forward is known.forward and "forward" not in vars(layer)
        if same and getattr(type(layer), "_conv_forward", None) is getattr(known, "_conv_forward", None):
            return isinstance(layer, known)
    return False


def _class(layer: nn.Module) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"


def linear_of(module: nn.Module, /) -> nn.Linear | None:
    """Return the Linear that computes what transformers' Conv1D does (its weight is transposed); None for others."""
    if type(module).__name__ != "Conv1D" or not {"nx", "nf"} <= vars(module).keys():
        return None
    linear = nn.Linear(module.nx, module.nf, device="meta")
    linear.weight = nn.Parameter(module.weight.detach().T.contiguous())
    linear.bias = module.bias
    return linear
