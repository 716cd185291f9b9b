"""The console command `reliquant`: one model without a workflow, over the same functions as the steps."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from reliquant import commands


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and run a subcommand; bad input ends in one line on stderr and exit code 1."""
    parser = argparse.ArgumentParser(prog="reliquant", description=__doc__)
    sub = parser.add_subparsers(dest="command", required=True)

    measure = sub.add_parser(
        "measure", help="every measure and OOD score of stored features or probabilities; no model"
    )
    measure.add_argument("features", type=Path, help=FEATURES)
    measure.add_argument("--ood", type=Path, nargs="*", default=[], help="safetensors with image (n,d) of other images")
    measure.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap")
    measure.add_argument("--json", action="store_true", help="print JSON: one object a dataset")

    plan = sub.add_parser("plan", help="what a scheme would quantize in a model, or what a study expands to")
    plan.add_argument("config", type=Path, nargs="?", help="a study config; else give --model")
    _model_words(plan)
    plan.add_argument("--json", action="store_true")

    quantize = sub.add_parser("quantize", help="quantize a model on image-caption pairs of your own")
    _model_words(quantize)
    quantize.add_argument("--pairs", required=True, help="captioned images: a dataset entry (YAML), .parquet or .tar")
    quantize.add_argument("--number", type=int, default=1000, help="how many pairs")
    quantize.add_argument("--seed", type=int, default=0)
    quantize.add_argument("--tuning", choices=["none", "contrastive", "match_fp32"], default="contrastive", help=TUNING)
    quantize.add_argument("--every", type=int, default=100, help="iterations between the checkpoints of a training")
    quantize.add_argument("--device", default="auto")
    quantize.add_argument("--output", type=Path, required=True)

    evaluate = sub.add_parser("evaluate", help="embed labelled images and print every measure")
    evaluate.add_argument("--model", required=True, help=MODEL)
    evaluate.add_argument("--variant", type=Path, help="made by `reliquant quantize`; FP32 if left out")
    evaluate.add_argument("--data", required=True, help="labelled images: a folder, .parquet, .tar, or entry (YAML)")
    evaluate.add_argument("--ood", nargs="*", default=[], help="out-of-distribution images, likewise")
    evaluate.add_argument("--templates", nargs="+", default=["a photo of a {}."], help="prompts with {} for the class")
    evaluate.add_argument("--batch", type=int, default=256)
    evaluate.add_argument("--resamples", type=int, default=10_000)
    evaluate.add_argument("--device", default="auto")
    evaluate.add_argument("--backend", choices=["auto", "simulate", "integer"], default="auto", help=BACKEND)
    evaluate.add_argument("--scale", choices=["native", "tuned"], default="native", help="logit scale of the softmax")
    evaluate.add_argument("--save", type=Path, help="keep the features, for `reliquant measure`")
    evaluate.add_argument("--json", action="store_true")

    recommend = sub.add_parser("recommend", help="the variants of a study that meet a wish, and how sure that is")
    recommend.add_argument("rows", type=Path, help="rows.parquet of a study")
    recommend.add_argument("--wish", nargs="+", required=True, help="such as 'ece_change <= 0' 'ood:auroc_change >= 0'")
    recommend.add_argument("--cost", default="bytes", help="the measure to keep small")
    recommend.add_argument("--json", action="store_true")

    compare = sub.add_parser("compare", help="two studies side by side: what changed significantly")
    compare.add_argument("rows_a", type=Path, help="rows.parquet of one study, or of one commit")
    compare.add_argument("rows_b", type=Path)
    compare.add_argument("--level", type=float, default=0.05, help="false discovery rate")
    compare.add_argument("--json", action="store_true")

    args = parser.parse_args(argv)
    words = {k: v for k, v in vars(args).items() if k not in ("command", "json")}
    try:
        found, text = getattr(commands, args.command)(**words)
    except (ValueError, OSError, ArithmeticError) as error:
        sys.exit(f"reliquant {args.command}: error: {error}")
    try:
        print(json.dumps(found, indent=2) if getattr(args, "json", False) else text, flush=True)
    except BrokenPipeError:  # `reliquant ... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


MODEL = (
    "a .safetensors file of ours, a shipped lab model (lab-vit-curated), an open_clip name with or without a"
    " pretrained tag or file (ViT-B-32, ViT-B-32/openai), or hf-hub:owner/name"
)


TUNING = "objective by which one logit scale is fitted on the pairs, stored beside the model's own"
BACKEND = (
    "of a variant: simulate rounds in floating point, integer multiplies int8 codes and says where it cannot, auto"
    " multiplies codes where that is possible and faster"
)


FEATURES = (
    "safetensors with image (n,d), label (n), text (c,d), logit_scale (1) and maybe logit_bias (1);"
    " or with probabilities (n,c) and label (n)"
)


def _model_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help=MODEL)
    parser.add_argument("--scheme", default="rtn", help="a quantizer, or an entry such as '{quantizer: lsq, lr: 1e-5}'")
    parser.add_argument("--precision", default="w8a8")
    parser.add_argument("--scope", choices=["image", "both"], default="image")


if __name__ == "__main__":
    main()
