"""Quantize a loaded model and say what was really quantized; the step and the console command share this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, TypedDict

import torch
from torch import nn

from reliquant import plugins
from reliquant.grid import FLOAT_BITS, Grid, attention_precision, parse_precision
from reliquant.layers.coverage import KEPT, OF_ATTENTION, Coverage, coverage
from reliquant.layers.stored import bits_per_weight
from reliquant.layers.surgery import insert_twins, twins, unpack
from reliquant.layers.variant import GRID, Arrays, export, size_in_bytes
from reliquant.models.clip import Clip
from reliquant.models.parts import Scope
from reliquant.progress import say
from reliquant.quantization.attention import attentions, calibrate_attention, put_pieces
from reliquant.quantization.bias_correction import BiasCorrection
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.compensation import Compensating
from reliquant.quantization.logit_scale import Objective
from reliquant.quantization.proxy import Proxy, embed
from reliquant.quantization.tuning import Tuned, Tuning, embedded, tune, tuned_embeddings
from reliquant.quantization.unchanged import Unchanged
from reliquant.quantization.where import Chosen, chosen, require_own, require_scales
from reliquant.study.config import least_share, quantizer_words
from reliquant.study.layer_words import Attention, attention_of

FLOATING = Grid(bits=FLOAT_BITS)
ELSEWHERE = (
    KEPT,
    OF_ATTENTION,
    "outside the blocks",
    "outside the scope",
    "online rotation",
    "compensation",
)  # no weight of a block


class Facts(TypedDict):
    """What a variant's file says of it, besides how it was made."""

    modules: dict[str, Any]  # what each twin and each other piece is, by module name
    measures: dict[
        str, float
    ]  # bytes; bits per quantized weight; dead channels; shares that ran quantized; the least share meant
    coverage: list[dict[str, Any]]  # each product with its bits, or the reason why it stayed FP32
    logit_scale_tuned: float | None  # on the held-out pairs; None without tuning
    logit_scale_tuned_fp32: float | None  # of the FP32 model on the same pairs
    tuned: Tuned | None  # how it was tuned, and how well
    words: dict[str, Any]  # those of the quantizer, with those left to their defaults


Keep = Callable[[int, Arrays, Facts], None]
Tuner = Callable[[Clip], tuple[Tuned, Tuned]]  # of a variant, and of FP32 on the same pairs


def quantize(
    clip: Clip,
    entry: Mapping[str, Any],
    scope: Scope,
    proxy: Proxy | None,
    saved: Checkpoints,
    /,
    *,
    tuning: Tuning = "none",
    held_out: Proxy | None = None,
    keep: Keep | None = None,
) -> tuple[Arrays, Facts]:
    """Quantize a model in place by an entry; return the variant's arrays and the facts of its header.

    Without a proxy (FP32) nothing is unpacked. The logit scale is tuned on the `held_out` pairs, which must be none of
    the proxy's. `keep` is called with the iterations, arrays and facts of each snapshot of a training. Raises
    ValueError where the scale is to be tuned and no pairs are held out.
    """
    tuner = _tuner(clip, held_out, tuning) if proxy and tuning != "none" else None
    sizes = {name: value.nbytes for name, value in clip.model.state_dict().items()}
    method = plugins.load("quantizer", quantizer_words(entry))
    where = prepare(clip, entry, scope, proxy) if proxy else Chosen([], {}, frozenset())
    told: dict[str, float] = {}  # what the method itself has measured
    words = {k: asdict(w) if isinstance(w, Grid) else w for k, w in plugins.bound(method).items()}

    def described(model: nn.Module) -> tuple[Arrays, Facts]:
        arrays, facts = _described(clip.with_model(model), entry, scope, proxy, sizes, tuner, words, where.kept)
        facts["measures"] |= told
        return arrays, facts

    if keep:
        saved = replace(saved, snapshot=lambda iteration, model: keep(iteration, *described(model)))
    told |= apply(clip, entry, where.names, proxy, saved)
    return described(clip.model)


def apply(
    clip: Clip, entry: Mapping[str, Any], names: list[str], proxy: Proxy | None, saved: Checkpoints, /
) -> dict[str, float]:
    """Run the method of an entry on the named layers of a model that is prepared; return what it has measured itself.

    Raises ValueError where a layer did not get the precision that is its own, or needs larger scales than are stored.
    """
    method, correction = plugins.load("quantizer", quantizer_words(entry)), None
    words = plugins.bound(method)
    if proxy and entry.get("bias_correction"):
        correction = BiasCorrection(clip, proxy, batch=words.get("batch", 64), pairs=words.get("pairs"))
    compensation = None
    if proxy and entry.get("compensation"):
        compensation = Compensating(clip, proxy, batch=words.get("batch", 64), pairs=words.get("pairs"))
    told = method(clip, names, proxy, saved) or {}
    require_own(clip.model, entry["quantizer"])
    require_scales(clip.model, entry["quantizer"])
    if correction:
        correction.apply()
    if proxy:
        finish_attention(clip, words, proxy)
    if compensation:
        compensation.apply()
    return dict(told)


def prepare(clip: Clip, entry: Mapping[str, Any], scope: Scope, proxy: Proxy, /) -> Chosen:
    """Put twins, which round nothing yet, in the places of the layers that an entry quantizes; say which they are.

    Raises ValueError where there is nothing to quantize, where a layer has no twin, and where the twins do not compute
    what the layers do; what a method then changes in floating point is checked before the first code is fixed.
    """
    unchanged, _ = Unchanged(clip, proxy), clip.parts  # both of the model as it is before anything is changed
    unpack(clip)
    words, quantizer = attention_of(entry), entry["quantizer"]
    found = attentions(clip, scope, words, lambda: embed(clip, *unchanged.pairs)) if words else {}
    where = chosen(clip, scope, entry.get("layers", {}), found)
    for tower in ("image", "text") if scope == "both" else ():
        if not any(clip.parts.in_tower(name, tower) for name in where.names):
            say(quantizer, f"scope both, but nothing in the {tower} tower is quantized: no layers in blocks are there")
    made = insert_twins(clip.model, where.names, FLOATING, FLOATING)
    unchanged.require_twins()
    unchanged.watch(quantizer)
    for name, precision in where.other.items():
        if name in made:
            made[name].own_words = parse_precision(precision)
    if words:
        grids = attention_grids(GRID.validate_python(entry["activation"]), words, where)
        factors = {name: found[name] for name in grids}
        put_pieces(clip, scope, factors, grids, words, unchanged.require_attention)
    return where


def attention_grids(activation: Grid, words: Attention, where: Chosen, /) -> dict[str, Grid]:
    """Return the grid of each attention whose products are rounded: of a precision of its own, or that of inputs."""
    grids = dict.fromkeys(where.attention, activation)
    for name in grids:
        if words.precision:
            grids[name] = activation.at(attention_precision(words.precision))
        elif name in where.other:
            grids[name] = activation.at(parse_precision(where.other[name])[1])
    return {name: grid for name, grid in grids.items() if not grid.floating}


def finish_attention(clip: Clip, words: Mapping[str, Any], proxy: Proxy, /) -> None:
    """Round what a scheme rounds of attention, over the pairs and batches among a method's words, if it is not yet."""
    given = {word: words[word] for word in ("momentum", "batch", "pairs") if word in words}
    calibrate_attention(clip, proxy, **given)


def weights_of(clip: Clip, kept: frozenset[str], /) -> int:
    """Return how many weights what a scheme keeps in floating point has; attention among it has none."""
    left = [clip.model.get_submodule(name) for name in kept]
    return sum(layer.weight.numel() for layer in left if isinstance(layer, nn.Linear | nn.Conv2d))


def require_share(quantizer: str, seen: Coverage, /) -> None:
    """Raise ValueError if nothing that ran was quantized."""
    if not seen.weight_share and not seen.mac_share:
        reasons = ", ".join(dict.fromkeys(filter(None, (product.reason for product in seen.products))))
        raise ValueError(f"{quantizer}: quantized nothing of what ran; it stayed in floating point because: {reasons}")


def shortfall(seen: Coverage, least: float, /) -> str:
    """Say that less than a share of the weights in the blocks is quantized, and what is not; empty if it is enough."""
    if seen.block_share >= least:
        return ""
    left = [p.module for p in seen.products if p.reason not in ("", *ELSEWHERE)]
    named = f", such as {left[0]}" if left else ""
    return (
        f"{seen.block_share:.1%} of the weights in the blocks are quantized, less than the {least:.0%} that the scheme "
        f"means (least_share); {len(left)} products in them stayed in floating point{named}"
    )


def dead_channels(dead: Mapping[str, int], /) -> str:
    """Say how many output channels rounding has left nothing of, and in which layers, given by how many each."""
    named = ", ".join(f"{name} ({count})" for name, count in list(dead.items())[:3])
    more = f" and {len(dead) - 3} more" if len(dead) > 3 else ""
    return f"{sum(dead.values())} output channels are dead: their rounded weights are all about 0, in {named}{more}"


def _described(
    clip: Clip,
    entry: Mapping[str, Any],
    scope: Scope,
    proxy: Proxy | None,
    sizes: dict[str, int],
    tuner: Tuner | None,
    words: dict[str, Any],
    kept: frozenset[str],
) -> tuple[Arrays, Facts]:
    """Export a quantized model; `sizes` are the bytes of the FP32 model by name."""
    rest = sum(size for name, size in sizes.items() if not clip.parts.in_scope(name, scope))
    arrays, modules = export(clip, scope)
    measures = {"bytes": rest + size_in_bytes(arrays), "bytes_fp32": sum(sizes.values())}
    products: list[dict[str, Any]] = []
    if proxy:
        layers = twins(clip.model)
        measures["stored_bits"] = bits_per_weight(arrays, layers, weights_of(clip, kept))
        measures["dead_channels"] = sum(layer.dead_channels for layer in layers.values())
        if measures["dead_channels"]:
            dead = {name: layer.dead_channels for name, layer in layers.items() if layer.dead_channels}
            say(entry["quantizer"], f"warning: {dead_channels(dead)}")
        with torch.no_grad():
            seen = coverage(clip, scope, lambda: embed(clip, *next(proxy.in_order(clip, 2))), kept)
        require_share(entry["quantizer"], seen)
        least = least_share(entry) * (1 - seen.kept_share)
        if warning := shortfall(seen, least):
            say(entry["quantizer"], f"warning: {warning}")
        measures |= {"quantized_weight_share": seen.weight_share, "quantized_mac_share": seen.mac_share}
        measures |= {"quantized_block_share": seen.block_share, "least_block_share": least}
        products = [vars(product) for product in seen.products]
    tuned, exact = tuner(clip) if tuner else (None, None)
    return arrays, {
        "modules": modules,
        "measures": measures,
        "coverage": products,
        "logit_scale_tuned": tuned and tuned["scale"],
        "logit_scale_tuned_fp32": exact and exact["scale"],
        "tuned": tuned,
        "words": words,
    }


def _tuner(clip: Clip, held_out: Proxy | None, objective: Objective) -> Tuner:
    """Embed the held-out pairs with the FP32 model; return what tunes the scale of a variant of it, and FP32's own."""
    if held_out is None:
        raise ValueError("logit-scale tuning: no pairs are held out; hold some out, or set tuning to none")
    fp32 = embedded(clip, held_out)
    exact = tuned_embeddings(fp32, held_out, objective, None)
    return lambda variant: (tune(variant, held_out, objective, fp32=fp32), exact)
