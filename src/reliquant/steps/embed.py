"""Embed the images and captions of captioned sets by one variant: one forward for each image and each caption."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from reliquant.device import add_words, chosen
from reliquant.evaluation.belonging import identities
from reliquant.evaluation.captioned import embed_captioned
from reliquant.evaluation.seen_pairs import count_seen, seen_keys
from reliquant.evaluation.stored_embeddings import save_embeddings
from reliquant.images.meta import require_made_of
from reliquant.images.prepare import load
from reliquant.layers.backend import use_backend
from reliquant.layers.variant import load_variant
from reliquant.models.preprocess import require_form
from reliquant.steps import run
from reliquant.study import paths, placed


def main() -> None:
    """Parse, load the variant, embed each set, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tower", help="the module of a tower plugin that the model's file may name")
    parser.add_argument("--variant", type=Path, required=True)
    parser.add_argument("--sets", type=json.loads, required=True, help="captioned datasets (sets_of), JSON")
    saw = "prepared pairs that the variant, or FP32's training, has seen (seen_sets), JSON"
    parser.add_argument("--seen", type=json.loads, default=[], help=saw)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--backend", choices=["auto", "simulate", "integer"], default="auto")
    add_words(parser)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    placed.require_as_made(args.model)
    device = chosen(args)
    clip, header = load_variant(args.model, args.variant, tower=args.tower)
    prepared = {}
    for each in args.sets:  # all are opened before any is embedded
        folder = Path(each["folder"])
        require_form(clip, folder.name, str(folder))
        prepared[each["dataset"]] = load(folder)
        require_made_of(each["entry"], prepared[each["dataset"]].meta, folder)
    searched = {name: of.photographs for name, of in prepared.items()}
    known = [(of["who"], seen_keys(Path(of["folder"]), of["entry"], header.get("pairs"))) for of in args.seen]
    seen = count_seen(searched, known)
    clip.model.to(device, getattr(torch, args.dtype))
    backend = use_backend(clip.model, args.backend, str(args.variant))
    words = {"batch": args.batch, "device": device, "dtype": args.dtype}
    found = {name: embed_captioned(clip, of, name, **words) for name, of in prepared.items()}
    sets = {name: captioned for name, (captioned, _) in found.items()}
    counts = {name: {**of, **({"seen": seen[name]} if seen.get(name) else {})} for name, (_, of) in found.items()}
    facts = {name: header.get(name) for name in ("entry", "labels", "model_sha256")}
    facts |= {"variant": header["sha256"], "dtype": args.dtype, "backend": backend}
    facts |= {"data": identities([Path(paths.meta(each["folder"])) for each in args.sets])}
    save_embeddings(args.output, sets, counts, **facts, device=torch.device(device).type)


if __name__ == "__main__":
    run(main)
