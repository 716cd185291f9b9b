"""Quantize each layer (or block) of a model alone, and measure what that does to embeddings, answers and OOD scores."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reliquant.device import add_words, chosen
from reliquant.evaluation.belonging import identities
from reliquant.evaluation.kept_rows import KeptRows
from reliquant.evaluation.one_layer import Sets, as_rows, identity, one_at_a_time
from reliquant.files.artifacts import provenance, save_frame
from reliquant.images.meta import require_made_of
from reliquant.images.prepare import Prepared, load
from reliquant.models.clip import Clip
from reliquant.models.files import load_model
from reliquant.models.preprocess import require_form
from reliquant.quantization.held_out import make_pairs
from reliquant.steps import run
from reliquant.study import paths, placed
from reliquant.study.config import HELD_OUT


def main() -> None:
    """Parse, load the model, the proxy pairs and the sets, try each layer alone, save the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tower", help="the module of a tower plugin that the model's file may name")
    parser.add_argument("--entry", type=json.loads, required=True, help="quantizer entry with its grids, JSON")
    parser.add_argument("--labels", type=json.loads, required=True, help="the row columns of this variant, JSON")
    parser.add_argument("--proxy", type=Path, required=True, help="the folder of a prepared dataset with captions")
    parser.add_argument("--proxy-entry", type=json.loads, required=True, help="the entry of that dataset, JSON")
    parser.add_argument("--pairs", type=int, help="how many pairs of the proxy; all if left out")
    parser.add_argument("--held-out", type=float, default=HELD_OUT, help="share of the pairs that are left out")
    parser.add_argument("--sets", type=json.loads, required=True, help="datasets to forward (sets_of), JSON")
    parser.add_argument("--by", choices=["layer", "block"], required=True, help="what is quantized at a time")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=256)
    add_words(parser)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    placed.require_as_made(args.model)
    device = chosen(args)
    clip, _ = load_model(args.model, tower=args.tower)
    clip.model.to(device)
    captioned = _opened(clip, {"folder": args.proxy, "entry": args.proxy_entry})
    pairs = make_pairs(captioned, args.pairs, args.labels["seed"], device, held_out=args.held_out)
    sets = _sets(clip, args.sets, args.batch, device)
    words = {"by": args.by, "resamples": args.resamples}
    scope = args.labels["scope"]
    kept = KeptRows.beside(args.output, identity(clip, args.entry, scope, pairs, sets, **words))
    with kept.alone():
        found = one_at_a_time(clip, args.entry, scope, pairs.proxy, sets, **words, kept=kept)
        facts = {"labels": args.labels, "suites": ["explain"], "by": args.by, "sets": args.sets}
        folders = dict.fromkeys([*(each["folder"] for each in args.sets), str(args.proxy)])
        files = [args.model, *(Path(paths.meta(folder)) for folder in folders)]
        more = {"entry": args.entry, "device": device, "made_of": identities(files)}
        save_frame(args.output, as_rows(found, args.labels), provenance(kind="sensitivity", **facts, **more))
        kept.clear()


def _sets(clip: Clip, given: list[dict[str, Any]], batch: int, device: str) -> Sets:
    """Open the sets: clean ones, and those that are out of distribution for some of them."""
    labelled = {each["dataset"]: _opened(clip, each) for each in given if not each["against"]}
    others = {each["dataset"]: _opened(clip, each) for each in given if each["against"]}
    against = {each["dataset"]: each["against"] for each in given if each["against"]}
    return Sets(labelled, others, batch=batch, device=device, against=against)


def _opened(clip: Clip, words: Mapping[str, Any]) -> Prepared:
    """Open a prepared folder; raise ValueError or DamagedFile where it is of another form or entry."""
    folder = Path(words["folder"])
    require_form(clip, folder.name, str(folder))
    prepared = load(folder)
    require_made_of(words["entry"], prepared.meta, folder)
    return prepared


if __name__ == "__main__":
    run(main)
