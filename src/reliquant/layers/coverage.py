"""The proof of what was quantized: all weights and matrix products of a model, counted as torch dispatches them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import flop_registry

from reliquant.layers.products import FACTORS, LEAF, Multiplied, watched_products
from reliquant.layers.surgery import twins
from reliquant.layers.transforms import Compensation, Rotation
from reliquant.layers.twins import SparedInput, Twin
from reliquant.models.clip import Clip
from reliquant.models.dispatch import DispatchMode
from reliquant.models.parts import Parts, Scope, storage_of, tensors_in


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Count query x key and attention x value, from shapes (n, heads, length, width)."""
    n, heads, length, width = query.shape
    return 2 * n * heads * length * key.shape[2] * (width + value.shape[3])


# torch's own FLOP counter knows every product but its attention kernel for CPUs
CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FORMULAS = {**flop_registry, CPU_ATTENTION: _attention_flops}


KEPT = "kept by the scheme"
OF_ATTENTION = "attention product"


@dataclass(frozen=True)
class Product:
    """One matrix product (or convolution) that really ran: where, which operator, and its multiply-accumulates."""

    module: str
    operator: str
    macs: int
    weight_bits: int  # of keys and values in attention
    activation_bits: int  # of queries and probabilities in attention
    reason: str  # why it stayed FP32; empty if quantized


@dataclass(frozen=True)
class Coverage:
    """Hold the products of one forward and the shares that ran quantized.

    The shares are those of the weights and of the multiply-accumulates of the towers in scope, and of the weights in
    their blocks (`block_share`), where a scheme means to quantize all that multiplies.
    """

    products: list[Product]
    weight_share: float
    mac_share: float
    block_share: float
    kept_share: float  # of the weights in the blocks, in layers that a scheme keeps in floating point


def coverage(clip: Clip, scope: Scope, run: Callable[[], Any], kept: Container[str] = (), /) -> Coverage:
    """Watch `run()`, one forward of the model, and account for each product that torch's dispatcher sees.

    `kept` are the layers that a scheme keeps in floating point.

    A product counts as quantized only inside a twin that really rounded both its weight and its input, or in an
    attention that rounded both its factors. Raises RuntimeError when a twin was never called, and when an attention ran
    other products than those whose factors it was to round.
    """
    watch = _Watch(clip)
    with watched_products(clip.model) as told:
        _watched(clip, watch, run)
    layers = twins(clip.model)
    idle = [name for name in layers if name not in watch.called]
    if idle:
        raise RuntimeError(f"{len(idle)} quantized layers never ran, {idle[0]} among them")
    products: list[Product] = []
    inside: list[Product] = []
    for seen, macs in _told(watch.macs, told).items():
        found = _products(clip, seen, macs, scope, kept)
        products += found
        top = scope == "image" and seen.owner in clip.parts.image  # a product of the tower itself: its projection
        inside += found if clip.parts.in_scope(seen.owner, scope) and not top else []
    quantized = sum(product.macs for product in inside if not product.reason)
    total = sum(product.macs for product in inside)
    rounded = sum(_rounded_weights(layer) for layer in layers.values() if layer.codes is not None)
    weights = {n: p for n, p in clip.model.named_parameters() if clip.parts.in_scope(n, scope) and p.ndim >= 2}
    whole = sum(weight.numel() for weight in weights.values())
    shares = rounded / max(whole, 1), quantized / max(total, 1)
    left = _block_share(clip, weights, [], kept)
    return Coverage(products, *shares, _block_share(clip, weights, inside), left)


def attention_products(clip: Clip, scope: Scope, run: Callable[[], Any], /) -> dict[str, int]:
    """Return the multiply-accumulates of attention products in the towers in scope, by the module that multiplied."""
    watch = _Watch(clip)
    _watched(clip, watch, run)
    found: dict[str, int] = {}
    for seen, macs in watch.macs.items():
        if seen.of_attention and clip.parts.in_scope(seen.owner, scope):
            found[seen.module] = found.get(seen.module, 0) + macs
    return found


def _watched(clip: Clip, watch: _Watch, run: Callable[[], Any]) -> None:
    with torch.no_grad(), located(clip.model, watch), watch:
        run()


def _told(seen: Mapping[_Seen, int], told: Mapping[str, list[Multiplied]]) -> dict[_Seen, int]:
    """Put what attention with rounded factors tells of its products in the place of what was seen of them.

    Raises RuntimeError where the two do not have the same multiply-accumulates.
    """
    ran = dict.fromkeys(told, 0)
    found: dict[_Seen, int] = {}
    for product, macs in seen.items():
        name = product.module
        if not product.of_attention or name not in told:
            found[product] = macs
            continue
        for part in told[name] if not ran[name] else ():
            key = _Seen(name, part.what, name, False)
            found[key] = found.get(key, 0) + part.macs
        ran[name] += macs
    for name, parts in told.items():
        if not parts or ran[name] != sum(part.macs for part in parts):
            raise RuntimeError(f"{name}: rounds other attention products than it runs")
    return found


def _block_share(
    clip: Clip, weights: Mapping[str, nn.Parameter], products: Iterable[Product], kept: Container[str] = ()
) -> float:
    """Return the share of the given weights in the blocks whose layer ran rounded, or is kept; embeddings are none."""
    rounded = {product.module for product in products if not product.reason}
    whole, share = 0, 0
    for name, weight in weights.items():
        layer = name.rpartition(".")[0]
        module = clip.model.get_submodule(layer)
        if not clip.parts.is_in_block(name) or isinstance(module, nn.Embedding):
            continue
        whole += weight.numel()
        if layer in rounded and isinstance(module, Twin):
            share += _rounded_weights(module)
        elif layer in kept:
            share += weight.numel()
    return share / max(whole, 1)


class _Seen(NamedTuple):
    """Say what multiplied: the module, the operator, and whether one factor is a parameter.

    The owner says which tower it belongs to: the module, or where that is in no tower (a model that multiplies by a
    parameter of its own) the parameter, or else the module of a tower that ran last.
    """

    module: str
    operator: str
    owner: str
    of_parameter: bool

    @property
    def of_attention(self) -> bool:
        """Whether two batches of computed matrices were multiplied, as attention does."""
        if self.operator in FACTORS or "attention" in self.operator:
            return True
        return self.operator in ("bmm", "baddbmm") and not self.of_parameter


class _Watch(DispatchMode):
    """Count multiply-accumulates by what multiplied, with the formulas of torch's own FLOP counter."""

    def __init__(self, clip: Clip, /) -> None:
        super().__init__()
        self.parts = clip.parts
        self.stack: list[str] = [""]
        self.called: dict[str, None] = {}  # in order
        self.macs: dict[_Seen, int] = {}
        self.parameters = {storage_of(p): name for name, p in clip.model.named_parameters()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = FORMULAS.get(func.overloadpacket)
        if formula:
            key = self._seen(func.overloadpacket.__name__, args)
            flops = formula(*args, **(kwargs or {}), out_val=out)
            self.macs[key] = self.macs.get(key, 0) + flops // 2
        return out

    def _seen(self, operator: str, args: Any) -> _Seen:
        module = self.stack[-1]
        names = [self.parameters.get(storage_of(tensor), "") for tensor in tensors_in(args)]
        parameter = next(filter(None, names), "")
        owner = module if self.parts.in_scope(module, "both") else parameter
        if not owner:
            owner = next((name for name in reversed(self.called) if self.parts.in_scope(name, "both")), "")
        return _Seen(module, operator, owner, bool(parameter))


@contextmanager
def located(model: nn.Module, watch: Any, /) -> Iterator[None]:
    """Keep the names of running modules on `watch.stack`, and those of all that ran in `watch.called`."""
    handles = []

    def enter(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            watch.stack.append(name)
            watch.called[name] = None

        return hook

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        watch.stack.pop()

    for name, module in model.named_modules():
        handles += [module.register_forward_pre_hook(enter(name), prepend=True), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _products(clip: Clip, seen: _Seen, macs: int, scope: Scope, kept: Container[str]) -> list[Product]:
    """Account for a product; what a twin keeps in floating point is a product of its own."""
    name, operator = seen.module, seen.operator
    module = clip.model.get_submodule(name)
    if isinstance(module, Rotation):
        return [Product(name, operator, macs, 32, 32, "online rotation")]
    if operator in FACTORS:
        left, right = (getattr(module, LEAF).bits(role) for role in FACTORS[operator])
        return [Product(name, operator, macs, right, left, OF_ATTENTION if 32 in (left, right) else "")]
    if isinstance(module, Compensation):
        return [Product(name, operator, macs, 32, 32, "compensation")]
    if not isinstance(module, Twin):
        return [Product(name, operator, macs, 32, 32, KEPT if name in kept else _reason(seen, scope, clip.parts))]
    spared = 0
    if isinstance(module.input, SparedInput):
        spared = macs * len(module.input.columns) // module.weight.shape[1]
    held = macs * len(module.held.rows) // len(module.weight) if module.held is not None else 0
    products = [_product(module, name, operator, macs - spared - held)]
    parts = {"outlier columns": spared, "output channels kept": held}
    return products + [Product(name, operator, part, 32, 32, reason) for reason, part in parts.items() if part]


def _product(module: Twin, name: str, operator: str, macs: int) -> Product:
    weight, activation = module.weight_grid, module.activation_grid
    if weight.floating and activation.floating:
        return Product(name, operator, macs, 32, 32, "its grids are floating point")
    if not weight.floating and module.codes is None and module.weight_rule is None:
        return Product(name, operator, macs, 32, 32, "the weight was never rounded")
    if not activation.floating and isinstance(module.input, nn.Identity):
        return Product(name, operator, macs, weight.bits, 32, "the input was never rounded")
    return Product(name, operator, macs, weight.bits, activation.bits, "")


def _rounded_weights(layer: Twin) -> int:
    spared = layer.spared.numel() if isinstance(layer.input, SparedInput) else 0
    held = layer.held.values.numel() if layer.held is not None else 0
    return layer.weight.numel() - spared - held


def _reason(seen: _Seen, scope: Scope, parts: Parts) -> str:
    if seen.of_attention:
        return OF_ATTENTION
    if not parts.block_of(seen.module):
        return "outside the blocks"
    if not parts.in_scope(seen.module, scope):
        return "outside the scope"
    return "not reached by the quantizer"
