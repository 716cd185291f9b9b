"""Quantize a model: one scheme, precision, scope, proxy and seed; `fp32` is one of them."""

from __future__ import annotations

import argparse
import json
import tarfile
from pathlib import Path
from typing import Any

import torch

from reliquant.artifacts import provenance, save_tensors, whole
from reliquant.device import add_words, chosen
from reliquant.images.prepare import load
from reliquant.layers.variant import Arrays
from reliquant.models.files import load_model
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantize import make_proxy, quantize
from reliquant.steps import run


def main() -> None:
    """Parse, load the model and the proxy pairs, quantize, save; snapshots go to `<output>.snapshots.tar`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--entry", type=json.loads, required=True, help="quantizer entry with its grids, JSON")
    parser.add_argument("--labels", type=json.loads, required=True, help="the row columns of this variant, JSON")
    parser.add_argument("--proxy", type=Path, help="prepared dataset with captions")
    parser.add_argument("--pairs", type=int, help="how many pairs of the proxy; all if left out")
    add_words(parser)
    parser.add_argument("--tuning", choices=["none", "contrastive", "match_fp32"], default="contrastive")
    parser.add_argument("--every", type=int, default=100, help="iterations between checkpoints")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.manual_seed(args.labels["seed"])
    device = chosen(args)
    clip, facts = load_model(args.model)
    clip.model.to(device)
    proxy, pairs = None, None
    if args.proxy:
        proxy, pairs = make_proxy(load(args.proxy), args.pairs, args.labels["seed"], device)
    of = {"entry": args.entry, "labels": args.labels, "model_sha256": facts["sha256"]}
    saved = Checkpoints(args.output.with_suffix(".checkpoints"), args.every, of)

    def write(path: Path, arrays: Arrays, found: dict[str, Any], iteration: int | None) -> None:
        facts = provenance(kind="variant", **of, **found, pairs=pairs, iteration=iteration)
        save_tensors(path, arrays, facts)

    def keep(iteration: int, arrays: Arrays, found: dict[str, Any]) -> None:
        write(saved.folder / f"{iteration}.safetensors", arrays, found, iteration)  # there: safe from a kill

    arrays, found = quantize(clip, args.entry, args.labels["scope"], proxy, saved, tuning=args.tuning, keep=keep)
    if snapshots := args.entry.get("snapshots"):
        _pack([saved.folder / f"{i}.safetensors" for i in snapshots], args.output.with_suffix(".snapshots.tar"))
    write(args.output, arrays, found, None)
    saved.clear()


def _pack(files: list[Path], path: Path) -> None:
    """Put files into one: of a folder Snakemake knows times only, and after `dvc pull` these mean nothing."""
    with whole(path) as temporary, tarfile.open(temporary, "w") as tar:
        for file in files:
            member = tarfile.TarInfo(file.name)  # no time, no owner: equal files give equal bytes
            member.size = file.stat().st_size
            with open(file, "rb") as data:
                tar.addfile(member, data)


if __name__ == "__main__":
    run(main)
