"""Quantize a model by one scheme at one precision, scope, proxy and seed; `fp32` is a scheme too."""

from __future__ import annotations

import argparse
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reliquant.device import add_words, chosen
from reliquant.files.artifacts import provenance, save_tensors, whole
from reliquant.images.meta import require_made_of
from reliquant.images.prepare import load
from reliquant.layers.variant import Arrays
from reliquant.models.clip import Clip
from reliquant.models.files import load_model
from reliquant.models.preprocess import require_form
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.held_out import Pairs, make_pairs
from reliquant.quantization.identity import run_identity
from reliquant.quantization.quantize import quantize
from reliquant.quantization.tuning import Tuned, tune
from reliquant.steps import run
from reliquant.study import paths, placed
from reliquant.study.config import HELD_OUT


def main() -> None:
    """Parse, load the model and the proxy pairs, quantize, save; snapshots go into a tar beside the output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tower", help="the module of a tower plugin that the model's file may name")
    parser.add_argument("--entry", type=json.loads, required=True, help="quantizer entry with its grids, JSON")
    parser.add_argument("--labels", type=json.loads, required=True, help="the row columns of this variant, JSON")
    parser.add_argument("--proxy", type=Path, help="the folder of a prepared dataset with captions")
    parser.add_argument("--proxy-entry", type=json.loads, help="the entry of that dataset, JSON")
    parser.add_argument("--pairs", type=int, help="how many pairs of the proxy; all if left out")
    parser.add_argument("--held-out", type=float, default=HELD_OUT, help="share of the pairs that only tuning sees")
    parser.add_argument("--tune-on", type=json.loads, default={}, help="of FP32: Study.tuned_on, JSON")
    add_words(parser)
    parser.add_argument("--tuning", choices=["none", "contrastive", "match_fp32"], default="contrastive")
    parser.add_argument("--every", type=int, default=100, help="iterations between checkpoints")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.manual_seed(args.labels["seed"])
    device = chosen(args)
    placed.require_as_made(args.model)
    clip, model = load_model(args.model, tower=args.tower)
    clip.model.to(device)
    made_of = {"entry": args.entry, "labels": args.labels, "model_sha256": model["sha256"]}
    pairs = None
    if args.proxy:
        pairs = _pairs(clip, _given(args), args, device)
        made_of["pairs"] = pairs.identity
    tunes = {"tuning": args.tuning, "tune_on": args.tune_on}
    identity = run_identity(clip, device, args.entry, model["tower"]["tower"], **made_of, **tunes)
    snapshots = args.entry.get("snapshots", [])
    saved = Checkpoints(args.output.with_suffix(".checkpoints"), args.every, identity, snapshots=snapshots)

    def write(path: Path, arrays: Arrays, facts: dict[str, Any], iteration: int | None) -> None:
        which = {"pairs": pairs and pairs.which, "tuned_on": tuned_on}
        header = provenance(kind="variant", **{**made_of, **which}, **facts, iteration=iteration)
        save_tensors(path, arrays, header)

    def keep(iteration: int, arrays: Arrays, facts: dict[str, Any]) -> None:
        # among the checkpoints: a killed job that goes on finds it there
        write(saved.snapshot_path(iteration), arrays, {**facts, "run": saved.name_of_run}, iteration)

    tuned_on = {name: _tuned(clip, words, args, device) for name, words in args.tune_on.items()}
    proxy, held_out = (pairs.proxy, pairs.held_out) if pairs else (None, None)
    words = {"tuning": args.tuning, "held_out": held_out, "keep": keep}
    with saved.alone():
        arrays, facts = quantize(clip, args.entry, args.labels["scope"], proxy, saved, **words)
        if snapshots:
            _pack([saved.snapshot_path(iteration) for iteration in snapshots], Path(paths.snapshots(args.output)))
        write(args.output, arrays, facts, None)
        saved.clear()


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Return the words of `Study.proxy` that the command line gives."""
    return {"folder": args.proxy, "entry": args.proxy_entry, "pairs": args.pairs, "held_out": args.held_out}


def _pairs(clip: Clip, words: Mapping[str, Any], args: argparse.Namespace, device: str) -> Pairs:
    """Choose the pairs of a prepared folder; raise ValueError where too few are held out to tune on."""
    folder = Path(words["folder"])
    require_form(clip, folder.name, str(folder))
    prepared = load(folder)
    if words.get("entry") is not None:
        require_made_of(words["entry"], prepared.meta, folder)
    pairs = make_pairs(prepared, words["pairs"], args.labels["seed"], device, held_out=words["held_out"])
    if args.tuning != "none":
        pairs.require_tunable()
    return pairs


def _tuned(clip: Clip, words: Mapping[str, Any], args: argparse.Namespace, device: str) -> Tuned:
    """Tune the logit scale of FP32 on the held-out pairs of a proxy."""
    return tune(clip, _pairs(clip, words, args, device).held_out, args.tuning)


def _pack(files: list[Path], path: Path) -> None:
    """Put files into one tar: of a folder Snakemake knows only the times, which mean nothing after `dvc pull`."""
    with whole(path) as temporary, tarfile.open(temporary, "w") as tar:
        for file in files:
            member = tarfile.TarInfo(file.name)  # no time, no owner: equal files give equal bytes
            member.size = file.stat().st_size
            with open(file, "rb") as data:
                tar.addfile(member, data)


if __name__ == "__main__":
    run(main)
