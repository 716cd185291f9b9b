"""`reliquant quantize`: quantize a model on image-caption pairs of your own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

from reliquant.cli.output import Output
from reliquant.cli.words import IMAGES, RANDOM_WEIGHTS, UNREADABLE, add_model_words, positive, read_scheme, writable
from reliquant.device import choose
from reliquant.images.open import named_images, open_images
from reliquant.models.files import load_model, save_model
from reliquant.models.open import open_model, opened_entry, own_file
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantize_model import quantize_model
from reliquant.quantization.tuning import Tuning
from reliquant.study.config import HELD_OUT

EXAMPLE = "reliquant quantize --model lab-vit-curated --precision w8a8 --pairs pairs.parquet --output w8a8.safetensors"
TUNING = (
    "objective by which one logit scale is fitted on the held-out pairs, stored beside the model's own "
    "(default: contrastive, or none where they are too few)"
)
SHARE = "share of the pairs that is not calibrated or trained on, for the tuning (0 to 1)"


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    add_model_words(parser)
    parser.add_argument("--random-weights", action="store_true", help=RANDOM_WEIGHTS)
    parser.add_argument("--pairs", required=True, help=f"captioned images: {IMAGES}")
    parser.add_argument("--unreadable", choices=["stop", "skip"], default="stop", help=UNREADABLE)
    parser.add_argument("--number", type=positive, default=1000, help="how many pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tuning", choices=["none", "contrastive", "match_fp32"], help=TUNING)
    parser.add_argument("--held-out", type=share, default=HELD_OUT, help=SHARE)
    parser.add_argument("--every", type=positive, default=100, help="iterations between the checkpoints of a training")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, required=True)


def share(word: str, /) -> float:
    """Read a share from 0 to less than 1; raise ArgumentTypeError for anything else."""
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is no share: a number from 0 to less than 1, such as {HELD_OUT}")
    return value


def run(
    *,
    model: str,
    tower: str | None = None,
    random_weights: bool = False,
    scheme: str,
    precision: str,
    scope: str,
    pairs: str,
    unreadable: Literal["stop", "skip"],
    number: int,
    seed: int,
    tuning: Tuning | None,
    held_out: float,
    every: int,
    device: str,
    output: Path,
) -> Output:
    """Quantize a model on image-caption pairs; write the variant, and beside it the FP32 model if it is no file yet."""
    entry = read_scheme(scheme, precision)
    writable(output, "--output")
    named_images(pairs, "pairs")  # what is wrong with the path is told before a model is read
    path = own_file(model)
    if path is None or random_weights:
        path = output.with_suffix(".fp32.safetensors")
        clip = open_model(model, random_weights=random_weights, tower=tower)
        opened = opened_entry(model, random_weights=random_weights)
        save_model(path, clip, opened)
        tower = opened["tower"]  # the user's own word, in the entry
    clip, facts = load_model(path, tower=tower)
    device = choose(device)
    clip.model.to(device)
    run = {"entry": entry, "labels": {"scope": scope, "seed": seed}, "model_sha256": facts["sha256"]}
    saved = Checkpoints(output.with_suffix(".checkpoints"), every, run)
    words = {"scope": scope, "number": number, "seed": seed, "tuning": tuning, "device": device, "saved": saved}
    words["held_out"] = held_out
    captioned = open_images(pairs, clip.form, role="pairs", unreadable=unreadable)
    with saved.alone():
        variant = quantize_model(clip, scheme, precision, captioned, **words)
        variant.save(output, model_sha256=facts["sha256"])
        saved.clear()
    told = {"variant": str(output), "model": str(path), **variant.facts["measures"]}
    if tuned := variant.facts["tuned"]:
        told |= {"logit_scale": tuned["native"], "logit_scale_tuned": tuned["scale"], "held_out_pairs": tuned["pairs"]}
        told["logit_scale_tuned_fp32"] = variant.facts["logit_scale_tuned_fp32"]
    return Output(told, "\n".join(f"{name}: {value}" for name, value in told.items()))
