"""Train a small CLIP from scratch on the captioned images of a prepared dataset."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from reliquant import plugins
from reliquant.images.meta import require_made_of
from reliquant.images.prepare import load
from reliquant.models.check import check_model
from reliquant.models.files import save_model
from reliquant.models.preprocess import require_form
from reliquant.models.pretrain import pretrain
from reliquant.steps import run
from reliquant.study import placed


def main() -> None:
    """Parse, build an untrained tower, train, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entry", type=json.loads, required=True, help="tower entry, JSON")
    parser.add_argument("--recipe", type=json.loads, required=True, help="the words of pretrain(), JSON")
    parser.add_argument("--pairs", type=Path, required=True, help="the folder of a prepared dataset with captions")
    parser.add_argument("--pairs-entry", type=json.loads, help="the entry of that dataset, JSON")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--placed", default="", help="digest of the files that the entry names, empty without any")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.recipe.get("seed", 0))  # the initial weights
    clip = plugins.load("tower", args.entry)(None)
    require_form(clip, args.pairs.name, str(args.pairs))
    pairs = load(args.pairs)
    if args.pairs_entry is not None:
        require_made_of(args.pairs_entry, pairs.meta, args.pairs)
    pretrain(clip, pairs.images, pairs.meta["captions"], **args.recipe)
    check_model(clip, args.output.stem)
    if args.placed:
        placed.require(args.placed, placed.model_digest(args.entry), args.output.stem)
    facts = {"recipe": args.recipe, "pairs": pairs.meta["entry"], "pairs_sha256": pairs.meta["sha256"]}
    with placed.recorded(args.output):
        save_model(args.output, clip, args.entry, **facts)
    placed.record(str(args.output.with_suffix(".placed.json")), args.placed)


if __name__ == "__main__":
    run(main)
