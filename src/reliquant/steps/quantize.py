"""Quantize a model: one scheme, precision, scope, proxy and seed; `fp32` is one of them."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from reliquant import plugins
from reliquant.coverage import coverage
from reliquant.device import choose
from reliquant.images import subset
from reliquant.models import load_model
from reliquant.prepare import load
from reliquant.proxy import Proxy, embed
from reliquant.records import provenance, save_tensors
from reliquant.resume import Checkpoints
from reliquant.steps import run
from reliquant.surgery import in_scope, targets, unpack_attention
from reliquant.variant import export, size_in_bytes


def main() -> None:
    """Parse, load the model and the proxy pairs, quantize, count what was really quantized, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--entry", type=json.loads, required=True, help="quantizer entry with its grids, JSON")
    parser.add_argument("--labels", type=json.loads, required=True, help="the row columns of this variant, JSON")
    parser.add_argument("--proxy", type=Path, help="prepared dataset with captions")
    parser.add_argument("--pairs", type=int, help="how many pairs of the proxy; all if left out")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=int, default=100, help="iterations between checkpoints")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    scope, seed = args.labels["scope"], args.labels["seed"]
    device = choose(args.device)
    torch.manual_seed(seed)

    clip, facts = load_model(args.model)
    clip.model.to(device)
    sizes = {name: value.nbytes for name, value in clip.model.state_dict().items()}
    rest = sum(size for name, size in sizes.items() if not in_scope(name, scope))
    proxy, names, pairs = None, [], None
    if args.proxy:
        prepared = load(args.proxy)
        chosen = subset(len(prepared.images), args.pairs)
        captions = [prepared.meta["captions"][i] for i in chosen]
        proxy = Proxy(prepared.images[chosen], captions, seed, device)
        pairs = {"dataset": prepared.meta["entry"], "sha256": prepared.meta["sha256"], "indices": chosen.tolist()}
        unpack_attention(clip.model)
        names = targets(clip.model, scope)
    run_of = {"entry": args.entry, "labels": args.labels, "model_sha256": facts["sha256"]}
    saved = Checkpoints(args.output.with_suffix(".checkpoints"), args.every, run_of)

    start = time.perf_counter()
    plugins.load("quantizer", args.entry)(clip, names, proxy, saved)
    seconds = time.perf_counter() - start
    arrays, modules = export(clip.model, scope)
    measures = {"bytes": rest + size_in_bytes(arrays), "bytes_fp32": sum(sizes.values())}
    ran = []
    if proxy:
        seen = coverage(clip.model, scope, lambda: embed(clip, *next(proxy.in_order(clip, 2))))
        measures |= {"quantized_weight_share": seen.weight_share, "quantized_mac_share": seen.mac_share}
        ran = [vars(product) for product in seen.products]
    made = provenance(kind="variant", **run_of, modules=modules, measures=measures, coverage=ran, pairs=pairs)
    save_tensors(args.output, arrays, made)
    args.output.with_suffix(".seconds").write_text(f"{seconds:.2f}\n")
    saved.clear()


if __name__ == "__main__":
    run(main)
