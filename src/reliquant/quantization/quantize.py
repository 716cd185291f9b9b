"""Quantize a loaded model and say what was really quantized; the step and the console command share this."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from reliquant import plugins
from reliquant.grid import FLOAT_BITS, Grid
from reliquant.images.dataset import subset
from reliquant.images.prepare import Prepared
from reliquant.layers.coverage import Coverage, coverage
from reliquant.layers.surgery import insert_twins, nothing_found, targets, unpack
from reliquant.layers.variant import Arrays, export, size_in_bytes
from reliquant.models.clip import Clip
from reliquant.models.parts import Scope
from reliquant.progress import say
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.logit_scale import tune_logit_scale
from reliquant.quantization.proxy import Proxy, embed, embed_all
from reliquant.quantization.unchanged import Unchanged
from reliquant.study.config import least_share, quantizer_words

Tuning = Literal["none", "contrastive", "match_fp32"]
FLOATING = Grid(bits=FLOAT_BITS)
ELSEWHERE = ("attention product", "outside the blocks", "outside the scope", "online rotation")  # no weight of a block


class Facts(TypedDict):
    """What a variant's file says of it, besides how it was made."""

    modules: dict[str, Any]  # what each twin and each other piece is, by module name
    measures: dict[str, float]  # bytes; shares of weights and products that ran quantized; the least share meant
    coverage: list[dict[str, Any]]  # each product with its bits, or the reason why it stayed FP32
    logit_scale_tuned: float | None  # on all pairs; None without tuning
    words: dict[str, Any]  # those of the quantizer, with those left to their defaults


Keep = Callable[[int, Arrays, Facts], None]
Embeddings = tuple[NDArray[np.float32], NDArray[np.float32], float]  # image and text (n, d), logit scale


def make_proxy(prepared: Prepared, number: int | None, seed: int, device: str, /) -> tuple[Proxy, dict[str, Any]]:
    """Choose image-caption pairs, the same for every variant, and say which; raise ValueError if there are none.

    Pairs with a blank caption are left out, and counted as `blank` where there are any.
    """
    if "captions" not in prepared.meta:
        raise ValueError(f"{prepared.meta['entry']}: has no captions; a proxy needs image-caption pairs")
    said = np.array([bool(text.strip()) for text in prepared.meta["captions"]])
    if not said.any():
        raise ValueError(f"{prepared.meta['entry']}: not one of the {len(said)} captions says anything")
    with_caption = np.flatnonzero(said)
    chosen = with_caption[subset(len(with_caption), number)]
    captions = [prepared.meta["captions"][i] for i in chosen]
    images = prepared.images[chosen]
    digest = hashlib.sha256(images)
    digest.update("\0".join(captions).encode())
    which = {"dataset": prepared.meta["entry"], "sha256": prepared.meta["sha256"], "indices": chosen.tolist()}
    which |= {"names": [prepared.meta["names"][i] for i in chosen], "pairs_sha256": digest.hexdigest()}
    if blank := int((~said).sum()):
        which["blank"] = blank
        say("pairs", f"{blank} of {len(said)} have a blank caption and are left out")
    return Proxy(images, captions, seed, device), which


def quantize(
    clip: Clip,
    entry: Mapping[str, Any],
    scope: Scope,
    proxy: Proxy | None,
    saved: Checkpoints,
    /,
    *,
    tuning: Tuning = "contrastive",
    keep: Keep | None = None,
) -> tuple[Arrays, Facts]:
    """Quantize a model in place by an entry; return the variant's arrays and the facts of its header.

    Without a proxy (FP32) nothing is unpacked. `keep` is called with the iterations, arrays and facts of each snapshot
    of a training.
    """
    sizes = {name: value.nbytes for name, value in clip.model.state_dict().items()}
    exact = _embedded(clip, proxy) if proxy and tuning == "match_fp32" else None
    method = plugins.load("quantizer", quantizer_words(entry))
    names = prepare(clip, entry["quantizer"], scope, proxy) if proxy else []
    words = {k: asdict(w) if isinstance(w, Grid) else w for k, w in plugins.bound(method).items()}

    def described(model: nn.Module) -> tuple[Arrays, Facts]:
        return _described(clip.with_model(model), entry, scope, proxy, sizes, tuning, exact, words)

    if keep:
        saved = replace(saved, snapshot=lambda iteration, model: keep(iteration, *described(model)))
    method(clip, names, proxy, saved)
    return described(clip.model)


def prepare(clip: Clip, quantizer: str, scope: Scope, proxy: Proxy, /) -> list[str]:
    """Put twins, which round nothing yet, in the places of the layers in scope; return their names.

    Raises ValueError where there is nothing to quantize, where a layer has no twin, and where the twins do not compute
    what the layers do; what a method then changes in floating point is checked before the first code is fixed.
    """
    unchanged, _ = Unchanged(clip, proxy), clip.parts  # both of the model as it is before anything is changed
    unpack(clip)
    names = targets(clip, scope)
    if not names:
        raise ValueError(nothing_found(clip, scope))
    insert_twins(clip.model, names, FLOATING, FLOATING)
    unchanged.require_twins()
    unchanged.watch(quantizer)
    return names


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


def _described(
    clip: Clip,
    entry: Mapping[str, Any],
    scope: Scope,
    proxy: Proxy | None,
    sizes: dict[str, int],
    tuning: Tuning,
    exact: Embeddings | None,
    words: dict[str, Any],
) -> tuple[Arrays, Facts]:
    """Export a quantized model; `sizes` are the bytes of the FP32 model by name, `exact` its embeddings."""
    rest = sum(size for name, size in sizes.items() if not clip.parts.in_scope(name, scope))
    arrays, modules = export(clip, scope)
    measures = {"bytes": rest + size_in_bytes(arrays), "bytes_fp32": sum(sizes.values())}
    products: list[dict[str, Any]] = []
    tuned = None
    if proxy:
        with torch.no_grad():
            seen = coverage(clip, scope, lambda: embed(clip, *next(proxy.in_order(clip, 2))))
        require_share(entry["quantizer"], seen)
        least = least_share(entry)
        if warning := shortfall(seen, least):
            say(entry["quantizer"], f"warning: {warning}")
        measures |= {"quantized_weight_share": seen.weight_share, "quantized_mac_share": seen.mac_share}
        measures |= {"quantized_block_share": seen.block_share, "least_block_share": least}
        products = [vars(product) for product in seen.products]
        if tuning != "none":
            image, text, scale = _embedded(clip, proxy)
            tuned = tune_logit_scale(image, text, proxy.caption_ids.numpy(), scale, objective=tuning, fp32=exact)
    return arrays, {
        "modules": modules,
        "measures": measures,
        "coverage": products,
        "logit_scale_tuned": tuned,
        "words": words,
    }


def _embedded(clip: Clip, proxy: Proxy) -> Embeddings:
    """Return image and text embeddings of all pairs, and the logit scale."""
    pairs = embed_all(clip, proxy)
    return pairs.image.cpu().numpy(), pairs.text.cpu().numpy(), pairs.logit_scale.item()
