"""Evaluate one variant on the datasets of one shard: one forward pass per dataset, one record per image."""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from pathlib import Path

import polars as pl
import torch

from reliquant import plugins
from reliquant.device import add_words, chosen
from reliquant.download.contents import require_contents
from reliquant.evaluation.evaluate import evaluate
from reliquant.evaluation.scales import scales_of
from reliquant.evaluation.snapshots import unpacked
from reliquant.files.artifacts import provenance, save_frame
from reliquant.files.stored_frames import errors_named
from reliquant.images.inventory import require_as_listed
from reliquant.layers.backend import use_backend
from reliquant.layers.variant import load_variant
from reliquant.steps import run
from reliquant.study import paths, placed


def main() -> None:
    """Parse, load the variant, evaluate, save the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tower", help="the module of a tower plugin that the model's file may name")
    parser.add_argument("--variant", type=Path, required=True, help="a variant's file, or a tar of its snapshots")
    parser.add_argument("--cells", type=json.loads, required=True, help="the cells to forward: Study.cells, JSON")
    parser.add_argument("--data", type=Path, help="the inventory of the files that the cells name")
    parser.add_argument("--scores", type=json.loads, default={}, help="entries of scores, by name, JSON")
    parser.add_argument("--negatives", type=json.loads, default=None, help="entry of a lexicon of negative words, JSON")
    parser.add_argument("--lexicon-root", type=Path, default=Path(), help="the folder of the lexicon's files")
    parser.add_argument("--templates-alone", type=int, default=0, help="how many templates to judge one by one")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--backend", choices=["auto", "simulate", "integer"], default="auto")
    add_words(parser)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    placed.require_as_made(args.model)
    data = require_as_listed(args.data) if args.data else None
    device = chosen(args)
    scores = {name: plugins.load("score", entry) for name, entry in args.scores.items()}
    needs = {name: plugins.needs("score", entry["score"]) for name, entry in args.scores.items()}
    if args.negatives and (record := Path(paths.fetched(str(args.lexicon_root)))).is_file():
        require_contents(record)
    negatives = plugins.load("lexicon", args.negatives)(args.lexicon_root) if args.negatives else None
    words = {"batch": args.batch, "device": device, "dtype": args.dtype, "needs": needs, "negatives": negatives}
    words["templates_alone"] = args.templates_alone
    records, facts = [], {}
    is_archive = args.variant.suffix == ".tar"  # of snapshots
    with unpacked(args.variant) if is_archive else nullcontext([args.variant]) as files:
        for path in files:
            with errors_named(args.variant) if is_archive else nullcontext():
                clip, header = load_variant(args.model, path, tower=args.tower)
            clip.model.to(device, getattr(torch, args.dtype))
            backend = use_backend(clip.model, args.backend, str(path))
            frame = evaluate(clip, args.cells, scores, scales=scales_of(header), **words)
            if is_archive:
                frame = frame.with_columns(iteration=pl.lit(header["iteration"], pl.Int64))
            records.append(frame)
            facts = {name: header.get(name) for name in ("entry", "labels", "model_sha256")}
            facts |= {"variant": header["sha256"], "data": data, "dtype": args.dtype, "backend": backend}
    save_frame(args.output, pl.concat(records), provenance(**facts, device=torch.device(device).type))


if __name__ == "__main__":
    run(main)
