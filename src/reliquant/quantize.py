"""Quantize a loaded model and say what was really quantized: what the step and the console command share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from reliquant import plugins
from reliquant.clip import Clip
from reliquant.coverage import coverage
from reliquant.images import subset
from reliquant.prepare import Prepared
from reliquant.proxy import Proxy, embed
from reliquant.resume import Checkpoints
from reliquant.surgery import Scope, in_scope, targets, unpack_attention
from reliquant.variant import Arrays, export, size_in_bytes


def make_proxy(prepared: Prepared, number: int | None, seed: int, device: str, /) -> tuple[Proxy, dict[str, Any]]:
    """Choose image-caption pairs, the same for every variant, and say which; raise ValueError without captions."""
    if "captions" not in prepared.meta:
        raise ValueError(f"{prepared.meta['entry']}: has no captions; a proxy needs image-caption pairs")
    chosen = subset(len(prepared.images), number)
    captions = [prepared.meta["captions"][i] for i in chosen]
    which = {"dataset": prepared.meta["entry"], "sha256": prepared.meta["sha256"], "indices": chosen.tolist()}
    return Proxy(prepared.images[chosen], captions, seed, device), which


def quantize(
    clip: Clip, entry: Mapping[str, Any], scope: Scope, proxy: Proxy | None, saved: Checkpoints, /
) -> tuple[Arrays, dict[str, Any]]:
    """Quantize a model in place by an entry; return the variant's arrays and header facts.

    The facts are `modules` (what each twin is), `measures` (bytes, share of weights and of multiply-accumulates that
    ran quantized) and `coverage` (each product with its bits, or why it stayed FP32). Without a proxy (FP32) nothing
    is unpacked.
    """
    sizes = {name: value.nbytes for name, value in clip.model.state_dict().items()}
    rest = sum(size for name, size in sizes.items() if not in_scope(name, scope))
    names: list[str] = []
    if proxy:
        unpack_attention(clip.model)
        names = targets(clip.model, scope)
    plugins.load("quantizer", entry)(clip, names, proxy, saved)
    arrays, modules = export(clip.model, scope)
    measures = {"bytes": rest + size_in_bytes(arrays), "bytes_fp32": sum(sizes.values())}
    ran: list[dict[str, Any]] = []
    if proxy:
        with torch.no_grad():
            seen = coverage(clip.model, scope, lambda: embed(clip, *next(proxy.in_order(clip, 2))))
        measures |= {"quantized_weight_share": seen.weight_share, "quantized_mac_share": seen.mac_share}
        ran = [vars(product) for product in seen.products]
    return arrays, {"modules": modules, "measures": measures, "coverage": ran}
