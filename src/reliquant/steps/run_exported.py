"""Evaluate one exported variant in a runtime on the datasets of one shard: one record per image, as `evaluate` has."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from reliquant import plugins
from reliquant.deploy.folder import variant_of
from reliquant.deploy.runtime_model import require_export_of, with_runtime
from reliquant.deploy.runtimes import RUNTIMES
from reliquant.download.contents import require_contents
from reliquant.evaluation.evaluate import evaluate
from reliquant.evaluation.scales import scales_of
from reliquant.files.artifacts import provenance, save_frame
from reliquant.images.inventory import require_as_listed
from reliquant.layers.variant import load_variant
from reliquant.steps import run
from reliquant.study import paths, placed


def main() -> None:
    """Parse, load the variant, put the runtime in its place, evaluate, save the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tower", help="the module of a tower plugin that the model's file may name")
    parser.add_argument("--variant", type=Path, required=True, help="the variant that was exported")
    parser.add_argument("--exported", type=Path, required=True, help="its exported folder")
    parser.add_argument("--runtime", choices=RUNTIMES, required=True)
    parser.add_argument("--cells", type=json.loads, required=True, help="the cells to forward, JSON")
    parser.add_argument("--data", type=Path, help="the inventory of the files that the cells name")
    parser.add_argument("--scores", type=json.loads, default={}, help="entries of scores, by name, JSON")
    parser.add_argument("--left-out", nargs="*", default=[], help="scores that need what no exported file gives")
    parser.add_argument("--negatives", type=json.loads, default=None, help="entry of a lexicon of negative words, JSON")
    parser.add_argument("--lexicon-root", type=Path, default=Path(), help="the folder of the lexicon's files")
    parser.add_argument("--templates-alone", type=int, default=0, help="how many templates to judge one by one")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1, help="of the runtime, and of what is not exported")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    placed.require_as_made(args.model)
    data = require_as_listed(args.data) if args.data else None
    clip, header = load_variant(args.model, args.variant, tower=args.tower)
    clip, told = with_runtime(clip, args.exported, args.runtime, threads=args.threads)
    export = told["export"]
    require_export_of(args.exported, export, header["model_sha256"], variant_of(header))
    scores = {name: plugins.load("score", entry) for name, entry in args.scores.items()}
    needs = {name: plugins.needs("score", entry["score"]) for name, entry in args.scores.items()}
    if args.negatives and (record := Path(paths.fetched(str(args.lexicon_root)))).is_file():
        require_contents(record)
    negatives = plugins.load("lexicon", args.negatives)(args.lexicon_root) if args.negatives else None
    words = {"batch": args.batch, "needs": needs, "negatives": negatives, "templates_alone": args.templates_alone}
    frame = evaluate(clip, args.cells, scores, scales=scales_of(header), device="cpu", dtype="float32", **words)
    facts = {name: header.get(name) for name in ("entry", "labels", "model_sha256")}
    facts |= {"variant": header["sha256"], "data": data, "runtime": args.runtime, "runs": told["runs"]}
    facts |= {"export": export["sha256"], "bytes": export["bytes"], "float_weights": export["float_weights"]}
    save_frame(args.output, frame, provenance(**facts, left_out=args.left_out, dtype="float32", device="cpu"))


if __name__ == "__main__":
    run(main)
