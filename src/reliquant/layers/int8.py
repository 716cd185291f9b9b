"""Products of int8 codes by a real integer kernel: oneDNN's where it uses a CPU's VNNI, else torch's own `_int_mm`.

On a CPU without VNNI both add pairs of products in 16 bits, which saturate: there float32 multiplies, in sums so short
that they are exact.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import pad

Activation = Literal["", "gelu", "gelu tanh", "quick gelu"]
# activation -> the name and the algorithm by which oneDNN knows it
POST_OPS = {"": ("none", "none"), "gelu": ("gelu", "none"), "gelu tanh": ("gelu", "tanh"), "quick gelu": ("swish", "")}
SPAN = 1023  # columns whose sums of int8 products are below 2^24, and so exact in float32
QUICK = 1.702  # quick gelu: x sigmoid(1.702 x) = swish(1.702 x) / 1.702


def fast_on(device: torch.device, /) -> str:
    """Say why products of int8 codes are not faster than FP32 on a device; empty if they are."""
    if device.type == "cuda":
        return "" if torch.cuda.get_device_capability(device) >= (7, 5) else "the GPU has no int8 tensor cores"
    if device.type != "cpu":
        return f"no int8 kernel for {device.type}"
    if not torch.cpu._is_vnni_supported():
        return "the CPU has no VNNI"
    return "" if _exact() else "oneDNN does not use the CPU's VNNI, and its sums of products saturate"


@cache
def _exact() -> bool:
    """Whether oneDNN's sums are exact in this process: where ONEDNN_MAX_CPU_ISA forbids VNNI, pairs saturate."""
    codes, weight = torch.full((64, 64), 255, dtype=torch.uint8), torch.full((64, 64), 127, dtype=torch.int8)
    packed, no_zero = torch.ops.onednn.qlinear_prepack(weight, None), torch.zeros(64, dtype=torch.int32)
    for rows in (codes, codes[:1]):
        words = (rows, 1.0, 0, packed, torch.ones(64), no_zero, None, 1.0, 0, torch.float32, "none", [], "none")
        if (torch.ops.onednn.qlinear_pointwise(*words) != 64 * 255 * 127).any():
            return False
    return True


def takes_unsigned(device: torch.device, /) -> bool:
    """Whether products on a device take uint8 codes (oneDNN), not int8 codes (`_int_mm`)."""
    return device.type == "cpu" and not fast_on(device)


class Product(nn.Module):
    """Multiply codes (m, d) by the transposed codes of a weight (o, d): scale (o,) * sum + bias (o,), float32.

    With oneDNN, an activation and rounding to uint8 codes of a given step and zero point may follow in the same pass.
    """

    def __init__(self, codes: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None, /) -> None:
        super().__init__()
        self.unsigned = takes_unsigned(codes.device)
        self.outputs = len(codes)
        self.register_buffer("scale", scale.float())
        self.register_buffer("bias", None if bias is None else bias.float())
        if self.unsigned:
            packed = torch.ops.onednn.qlinear_prepack(codes, None)
            self.register_buffer("no_zero", torch.zeros(len(codes), dtype=torch.int32))
        else:
            packed = pad(codes, (0, -codes.shape[1] % 8, 0, -len(codes) % 8)).t()  # CUDA wants multiples of 8
        self.packed = packed
        self.activation: Activation = ""
        self.step, self.zero = 0.0, 0

    def then(self, activation: Activation, step: float = 0.0, zero: int = 0, /) -> None:
        """Follow the product by an activation and, if there is a step, by rounding to uint8 codes."""
        if not self.unsigned:
            raise ValueError("only oneDNN's product can be followed by more in the same pass")
        self.activation, self.step, self.zero = activation, step, zero
        if activation == "quick gelu":  # swish gives 1.702 times as much; a step 1.702 times as large undoes it
            if not step:
                raise ValueError("quick gelu needs a step: nothing else undoes its factor")
            self.scale, self.step = self.scale * QUICK, step * QUICK
            self.bias = None if self.bias is None else self.bias * QUICK

    def forward(self, codes: torch.Tensor, onto: torch.Tensor | None = None) -> torch.Tensor:
        """Return (m, o), float32, or uint8 codes if rounding follows; with `onto` (m, o) add to that, in place."""
        if self.unsigned:
            rounds = (self.step, self.zero, torch.uint8) if self.step else (1.0, 0, torch.float32)
            name, algorithm = POST_OPS[self.activation]
            weight = (self.packed, self.scale, self.no_zero)
            if onto is not None:
                add = (*rounds, 1.0, 0, "sum", 1.0, name, [], algorithm)
                return torch.ops.onednn.qlinear_pointwise.binary(codes, 1.0, 0, *weight, onto, self.bias, *add)
            weight = (*weight, self.bias)
            return torch.ops.onednn.qlinear_pointwise(codes, 1.0, 0, *weight, *rounds, name, [], algorithm)
        rows = max(len(codes), 17) if codes.is_cuda else len(codes)  # CUDA wants more than 16 rows
        filled = pad(codes, (0, len(self.packed) - codes.shape[1], 0, rows - len(codes)))
        sums = _sums(filled, self.packed)[: len(codes), : self.outputs]
        return sums * self.scale if self.bias is None else torch.addcmul(self.bias, sums, self.scale)


def _sums(codes: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
    """Return the int32 product of int8 codes (m, d) and a packed weight (d, o)."""
    if codes.is_cuda or _int_mm_is_exact():
        return torch._int_mm(codes, packed)
    sums = torch.zeros(len(codes), packed.shape[1], dtype=torch.int32)
    for some, weight in zip(codes.split(SPAN, dim=1), packed.split(SPAN), strict=True):
        sums += (some.float() @ weight.float()).int()
    return sums


@cache
def _int_mm_is_exact() -> bool:
    """Whether `_int_mm` of a CPU gives exact sums; oneDNN, which it asks, saturates where it uses no VNNI."""
    weight = torch.full((64, 64), 127, dtype=torch.int8)
    return all(bool((torch._int_mm(rows, weight) == 64 * 127 * 127).all()) for rows in (weight, weight[:1]))
