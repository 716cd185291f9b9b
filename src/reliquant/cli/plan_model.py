"""What a scheme quantizes in a model, layer by layer: the quantizer itself is run on a few random images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from reliquant import plugins
from reliquant.grid import Grid
from reliquant.layers.coverage import Product, coverage
from reliquant.layers.surgery import twins
from reliquant.layers.twins import Twin
from reliquant.models.clip import Clip
from reliquant.models.parts import Scope
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy, embed
from reliquant.quantization.quantize import prepare, require_share

PAIRS = 4
NO_PRODUCT = "no matrix product"


def plan_model(clip: Clip, entry: Mapping[str, Any], scope: Scope, /) -> dict[str, Any]:
    """Return each module with its grids, or why it stays FP32, and the shares covered.

    Modules are those whose matrix products one image and one caption really ran, then all others that hold parameters.

    The scheme's own quantizer is run on a copy of the model with four random images (training takes no step), so that
    the grids are those it really gives to each layer. What a method decides by the values of its inputs, such as
    `raana` a layer's bits and `llm_int8` its outlier columns, depends on the pairs: there `from_data` is true.
    """
    copied = clip.with_model(copy.deepcopy(clip.model))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (PAIRS, *clip.shape, 3), dtype=np.uint8)
    proxy = Proxy(images, ["a photo"] * PAIRS)
    method = plugins.load("quantizer", _shortened(entry))
    method(copied, prepare(copied, entry["quantizer"], scope, proxy), proxy, Checkpoints())
    seen = coverage(copied, scope, lambda: embed(copied, *next(proxy.in_order(copied, 1))))
    require_share(entry["quantizer"], seen)
    products = [_described(p, copied.model.get_submodule(p.module)) for p in seen.products]
    products += [_described(Product(m, "", 0, 32, 32, NO_PRODUCT), None) for m in _others(copied.model, seen.products)]
    bits = {layer.weight_grid.bits for layer in twins(copied.model).values()}
    shares = {
        "share of weights quantized": seen.weight_share,
        "share of multiply-accumulates quantized": seen.mac_share,
    }
    by_data = len(bits) > 1 or any(p.reason == "outlier columns" for p in seen.products)
    return {"products": products, "shares": shares, "from_data": by_data}


def _others(model: nn.Module, products: Sequence[Product], /) -> list[str]:
    """Name the modules with parameters of their own that multiply no matrix: norms, embeddings, scales."""
    seen = {p.module for p in products}
    owners = (name.rpartition(".")[0] for name, _ in model.named_parameters())
    return [name for name in dict.fromkeys(owners) if name not in seen]


def _shortened(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Let an entry need no more than a few pairs, and no training step."""
    words = plugins.words(plugins.source("quantizer", entry["quantizer"]), "quantizer")
    trains = {"iterations": 0, "snapshots": []} if "losses" in words else {}
    few = {"batch": PAIRS, "pairs": PAIRS, "samples": PAIRS} | trains
    return {**entry, **{word: value for word, value in few.items() if word in words}}


def _described(product: Product, module: Any) -> dict[str, Any]:
    quantized = isinstance(module, Twin) and not product.reason
    return {
        "module": product.module,
        "weight": described(module.weight_grid) if quantized else "fp32",
        "activation": described(module.activation_grid) if quantized else "fp32",
        "macs": product.macs,
        "reason": product.reason,
    }


def described(grid: Grid, /) -> str:
    """Name a grid in a few words.

    >>> described(Grid(bits=4, granularity="group", group=32))
    'int4 / group 32'
    """
    if grid.floating:
        return "fp32"
    kind = f"{'int' if grid.signed else 'uint'}{grid.bits}"
    run = f" {grid.group}" if grid.granularity == "group" else ""
    return f"{kind} / {'dynamic ' if grid.dynamic else ''}{grid.granularity}{run}" + (
        "" if grid.symmetric else " + zero"
    )
