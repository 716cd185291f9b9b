"""Write one variant as files that other runtimes run, and run its simulation in float64 on some clean images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reliquant.deploy.card_of_export import card_of_export
from reliquant.deploy.export import Exporter
from reliquant.deploy.folder import told_of
from reliquant.deploy.prompts import read_prompts
from reliquant.device import add_words, chosen
from reliquant.evaluation.belonging import identities
from reliquant.evaluation.doubled import in_float64
from reliquant.files.artifacts import provenance, save_frame
from reliquant.images.meta import read_meta
from reliquant.images.meta import require_made_of as require_made_of_entry
from reliquant.layers.variant import load_variant
from reliquant.steps import run
from reliquant.study import paths, placed


def main() -> None:
    """Parse, load the variant, run it in float64, export it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tower", help="the module of a tower plugin that the model's file may name")
    parser.add_argument("--variant", type=Path, required=True)
    parser.add_argument("--classes", type=Path, required=True, help="a prepared folder: classes, templates and images")
    parser.add_argument("--dataset", required=True, help="the name that its images have in records")
    parser.add_argument("--dataset-entry", type=json.loads, required=True, help="its entry in the config, JSON")
    parser.add_argument("--towers", nargs="+", choices=["image", "text"], required=True)
    parser.add_argument("--float-weights", action="store_true", help="write weights that ONNX cannot say in float32")
    parser.add_argument("--code-bits", type=int, choices=[4, 8], default=4, help="the least width of a code")
    parser.add_argument("--images", type=int, required=True, help="how many images run in float64, at most")
    parser.add_argument("--batch", type=int, default=256)
    add_words(parser)
    parser.add_argument("--doubled", type=Path, required=True, help="the records in float64")
    parser.add_argument("--output", type=Path, required=True, help="the folder of the exported files")
    args = parser.parse_args()
    placed.require_as_made(args.model)
    require_made_of_entry(args.dataset_entry, read_meta(args.classes), args.classes)
    device = chosen(args)
    clip, header = load_variant(args.model, args.variant, tower=args.tower)
    how = {"float_weights": args.float_weights, "code_bits": args.code_bits}
    exporter = Exporter(to="onnx", towers=args.towers, **how)
    words = {"name": args.variant.stem, "facts": told_of(header), "prompts": read_prompts(args.classes)}
    exporter.export(clip, args.output, **words, card=card_of_export)
    clip, _ = load_variant(args.model, args.variant, tower=args.tower)  # anew: an export unpacks attention
    frame = in_float64(clip, args.classes, args.dataset, images=args.images, batch=args.batch, device=device)
    told = {"variant": header["sha256"], "model_sha256": header["model_sha256"], "labels": header.get("labels")}
    told |= {"made_of": identities([args.variant, args.classes / paths.META]), "dtype": "float64"}
    save_frame(args.doubled, frame, provenance(kind="float64", **told, device=device))


if __name__ == "__main__":
    run(main)
