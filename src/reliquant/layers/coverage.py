"""The proof of what was quantized: all weights and matrix products of a model, counted as torch dispatches them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from reliquant.layers.surgery import BLOCKS, Scope, in_scope
from reliquant.layers.transforms import Rotation
from reliquant.layers.twins import SparedInput, Twin


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Count query x key and attention x value, from shapes (n, heads, length, width)."""
    n, heads, length, width = query.shape
    return 2 * n * heads * length * key.shape[2] * (width + value.shape[3])


# torch's own FLOP counter knows every product but its attention kernel for CPUs
CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FORMULAS = {**flop_registry, CPU_ATTENTION: _attention_flops}


@dataclass(frozen=True)
class Product:
    """One matrix product (or convolution) that really ran: where, which operator, and its multiply-accumulates."""

    module: str
    operator: str
    macs: int
    weight_bits: int
    activation_bits: int
    reason: str  # why it stayed FP32; empty if quantized


@dataclass(frozen=True)
class Coverage:
    """Hold the products of one forward and the share of weights and multiply-accumulates that ran quantized."""

    products: list[Product]
    weight_share: float
    mac_share: float


def coverage(model: nn.Module, scope: Scope, run: Callable[[], Any], /) -> Coverage:
    """Watch `run()`, one forward of the model, and account for each product that torch's dispatcher sees.

    A product counts as quantized only inside a twin that really rounded both its weight and its input. Raises
    RuntimeError when a twin was never called.
    """
    watch = _Watch()
    with torch.no_grad(), located(model, watch), watch:
        run()
    idle = [name for name, module in model.named_modules() if isinstance(module, Twin) and name not in watch.called]
    if idle:
        raise RuntimeError(f"{len(idle)} quantized layers never ran, {idle[0]} among them")
    products = []
    for (name, operator), macs in watch.macs.items():
        products += _products(model, name, operator, macs, scope)
    inside = [product for product in products if in_scope(product.module, scope)]
    quantized = sum(product.macs for product in inside if not product.reason)
    total = sum(product.macs for product in inside)
    rounded = sum(_rounded_weights(m) for m in model.modules() if isinstance(m, Twin) and m.codes is not None)
    weights = sum(v.numel() for name, v in model.named_parameters() if in_scope(name, scope) and v.ndim >= 2)
    return Coverage(products, rounded / max(weights, 1), quantized / max(total, 1))


class _Watch(TorchDispatchMode):
    """Count multiply-accumulates per (module, operator), with the formulas of torch's own FLOP counter."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = [""]
        self.called: set[str] = set()
        self.macs: dict[tuple[str, str], int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = FORMULAS.get(func.overloadpacket)
        if formula:
            key = (self.stack[-1], func.overloadpacket.__name__)
            flops = formula(*args, **(kwargs or {}), out_val=out)
            self.macs[key] = self.macs.get(key, 0) + flops // 2
        return out


@contextmanager
def located(model: nn.Module, watch: Any, /) -> Iterator[None]:
    """Keep the names of running modules on `watch.stack`, and those of all that ran in `watch.called`."""
    handles = []

    def enter(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            watch.stack.append(name)
            watch.called.add(name)

        return hook

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        watch.stack.pop()

    for name, module in model.named_modules():
        handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _products(model: nn.Module, name: str, operator: str, macs: int, scope: Scope) -> list[Product]:
    """Account for a product; the columns that a twin spares are a product of their own."""
    module = model.get_submodule(name)
    if isinstance(module, Rotation):
        return [Product(name, operator, macs, 32, 32, "online rotation")]
    spared = 0
    if isinstance(module, Twin) and isinstance(module.input, SparedInput):
        spared = macs * len(module.input.columns) // module.weight.shape[1]
    whole = _product(module, name, operator, macs - spared, scope)
    return [whole, Product(name, operator, spared, 32, 32, "outlier columns")] if spared else [whole]


def _product(module: nn.Module, name: str, operator: str, macs: int, scope: Scope) -> Product:
    if not isinstance(module, Twin):
        return Product(name, operator, macs, 32, 32, _reason(name, operator, scope))
    weight, activation = module.weight_grid, module.activation_grid
    if not weight.floating and module.codes is None and module.weight_rule is None:
        return Product(name, operator, macs, 32, 32, "the weight was never rounded")
    if not activation.floating and isinstance(module.input, nn.Identity):
        return Product(name, operator, macs, weight.bits, 32, "the input was never rounded")
    return Product(name, operator, macs, weight.bits, activation.bits, "")


def _rounded_weights(layer: Twin) -> int:
    spared = layer.spared.numel() if isinstance(layer.input, SparedInput) else 0
    return layer.weight.numel() - spared


def _reason(name: str, operator: str, scope: Scope) -> str:
    if "attention" in operator or operator in ("bmm", "baddbmm"):
        return "attention product"
    if not BLOCKS.search(name):
        return "outside the blocks"
    if not in_scope(name, scope):
        return "outside the scope"
    return "not reached by the quantizer"
