"""What a scheme quantizes in a model, layer by layer: the quantizer itself is run on a few random images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from torch import nn

from reliquant import plugins
from reliquant.grid import Grid
from reliquant.layers.coverage import Product, coverage
from reliquant.layers.products import FACTORS, LEAF, LogSqrt2
from reliquant.layers.surgery import insert_twins, twins
from reliquant.layers.transforms import Compensation
from reliquant.layers.twins import Twin
from reliquant.models.clip import Clip
from reliquant.models.open import open_model, open_shapes, takes_weights, tower_entry
from reliquant.models.parts import Scope
from reliquant.models.shapes import is_shape_only, shapes_only
from reliquant.quantization import compensation
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy, embed
from reliquant.quantization.quantize import finish_attention, prepare, require_share, shortfall, weights_of
from reliquant.quantization.where import require_own
from reliquant.study.config import least_share, quantizer_words
from reliquant.study.model_entries import RANDOM

PAIRS = 4
NO_PRODUCT = "no matrix product"
LARGEST = 500_000_000  # parameters of a model that is run with values: below 4 GiB with all that comes on top


def open_to_plan(word: str, /, *, tower: str | None = None) -> Clip:
    """Open a model for its layers, which do not depend on its weights: by its shapes alone where it is large.

    An architecture alone, and a folder without weights, get random ones. `tower` is what `open_model` takes.
    """
    shapes = open_shapes(word, tower=tower)
    if shapes is not None and sum(parameter.numel() for parameter in shapes.model.parameters()) > LARGEST:
        return shapes
    try:
        return open_model(word, random_weights=not takes_weights(word), tower=tower)
    except FileNotFoundError as error:
        if shapes is None or "holds no weights" not in str(error):
            raise
        return plugins.load("tower", {**tower_entry(word), "pretrained": RANDOM})(None)


def plan_model(clip: Clip, entry: Mapping[str, Any], scope: Scope, /, *, in_place: bool = False) -> dict[str, Any]:
    """Return each module with its grids, or why it stays FP32, and the shares covered.

    Modules are those whose matrix products one image and one caption really ran, then all others that hold parameters.

    The scheme's own quantizer is run on a copy of the model, or on the model itself (`in_place`), with four random
    images (training takes no step), so that the grids are those it really gives to each layer. What a method decides by
    the values of its inputs, such as `raana` a layer's bits and `llm_int8` its outlier columns, depends on the pairs:
    there `from_data` is true. A model on the meta device is run for its shapes (`by_shapes`): what data decides is not
    in its plan. `compensation` names the blocks that get one, if the pairs bear it out, those that cannot, and the
    stored bits; None without the word. Raises ValueError where nothing would be quantized.
    """
    planned = clip if in_place else clip.with_model(copy.deepcopy(clip.model))
    by_shapes = is_shape_only(planned.model)
    with shapes_only() if by_shapes else nullcontext():
        return {**_planned(planned, entry, scope, "meta" if by_shapes else "cpu"), "by_shapes": by_shapes}


class WithTwins:
    """A copy of a model of shapes, with twins that take the grids of one entry after another: a method is not run."""

    def __init__(self, clip: Clip, entry: Mapping[str, Any], scope: Scope, /) -> None:
        """Raise ValueError where nothing would be quantized, or a layer has no twin."""
        self.clip = clip.with_model(copy.deepcopy(clip.model))
        with shapes_only():
            self.names = prepare(self.clip, entry, scope, _few_pairs(clip, "meta")).names

    def take(self, entry: Mapping[str, Any], /) -> None:
        """Raise ValueError naming a layer that has not the width for an entry's grids."""
        insert_twins(self.clip.model, self.names, Grid(**entry["weight"]), Grid(**entry["activation"]))


def _few_pairs(clip: Clip, device: str) -> Proxy:
    images = np.random.default_rng(0).integers(0, 256, (PAIRS, *clip.shape, 3), dtype=np.uint8)
    return Proxy(images, ["a photo"] * PAIRS, device=device)


def _planned(clip: Clip, entry: Mapping[str, Any], scope: Scope, device: str) -> dict[str, Any]:
    proxy = _few_pairs(clip, device)
    method = plugins.load("quantizer", _shortened(quantizer_words(entry)))
    where = prepare(clip, entry, scope, proxy)
    method(clip, where.names, proxy, Checkpoints())
    require_own(clip.model, entry["quantizer"])
    finish_attention(clip, plugins.bound(method), proxy)
    mended = None
    if entry.get("compensation"):
        mended = compensation.plan(clip, proxy, batch=PAIRS, pairs=PAIRS, kept=weights_of(clip, where.kept))
    seen = coverage(clip, scope, lambda: embed(clip, *next(proxy.in_order(clip, 1))), where.kept)
    require_share(entry["quantizer"], seen)
    products = [_described(p, clip.model.get_submodule(p.module)) for p in seen.products]
    products += [_described(Product(m, "", 0, 32, 32, NO_PRODUCT), None) for m in _others(clip.model, seen.products)]
    bits = {layer.weight_grid.bits for layer in twins(clip.model).values()}
    shares = {
        "share of weights quantized": seen.weight_share,
        "share of multiply-accumulates quantized": seen.mac_share,
        "share of the weights in blocks quantized": seen.block_share,
    }
    by_data = (len(bits) > 1 and not where.other) or any(p.reason == "outlier columns" for p in seen.products)
    warning = shortfall(seen, least_share(entry) * (1 - seen.kept_share))
    facts = {"from_data": by_data, "warning": warning, "compensation": mended}
    return {"products": products, "shares": shares, **facts}


def _others(model: nn.Module, products: Sequence[Product], /) -> list[str]:
    """Name the modules with parameters of their own that multiply no matrix: norms, embeddings, scales."""
    seen = {p.module for p in products}
    owners = (name.rpartition(".")[0] for name, _ in model.named_parameters())
    return [name for name in dict.fromkeys(owners) if name not in seen]


def _shortened(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Let an entry need no more than a few pairs, no training step and no search."""
    words = plugins.words(plugins.source("quantizer", entry["quantizer"]), "quantizer")
    trains = {"iterations": 0, "snapshots": []} if "losses" in words else {}
    few = {"batch": PAIRS, "pairs": PAIRS, "samples": PAIRS, "steps": 0, "measure": "output_error"} | trains
    few |= dict.fromkeys(["alphas", "shares", "candidates"], 1)  # of a search: which range it finds is in no plan
    return {**entry, **{word: value for word, value in few.items() if word in words}}


def _described(product: Product, module: Any) -> dict[str, Any]:
    weight, activation, name = "fp32", "fp32", product.module
    if product.operator in FACTORS:
        activation, weight = (_factor(getattr(module, LEAF).rounding(role)) for role in FACTORS[product.operator])
        name = f"{name}: {product.operator}"
    elif isinstance(module, Compensation):
        weight = "fp16"
    elif isinstance(module, Twin) and not product.reason:
        weight, activation = described(module.weight_grid), described(module.activation_grid)
    return {
        "module": name,
        "weight": weight,
        "activation": activation,
        "macs": product.macs,
        "reason": product.reason,
    }


def _factor(rounding: Any) -> str:
    """Name what rounds a factor of an attention's products."""
    if isinstance(rounding, LogSqrt2):
        return f"log_sqrt2 {rounding.bits} bits"
    return "fp32" if rounding is None else described(rounding.grid)


def described(grid: Grid, /) -> str:
    """Name a grid in a few words.

    >>> described(Grid(bits=4, granularity="group", group=32))
    'int4 / group 32'
    """
    if grid.floating:
        return "fp32"
    kind = f"{'int' if grid.signed else 'uint'}{grid.bits}" if grid.element == "int" else grid.element.upper()
    run = f" {grid.group}" if grid.granularity == "group" else ""
    scales = f", scales {grid.scales_as.upper()}" if grid.whole_groups else ""
    shared = f"{'dynamic ' if grid.dynamic else ''}{grid.granularity}{run}{scales}"
    return f"{kind} / {shared}{'' if grid.symmetric else ' + zero'}"
