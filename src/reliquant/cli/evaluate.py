"""`reliquant evaluate`: embed labelled images and print every measure."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors.numpy import save_file

from reliquant.cli.measure import with_scores
from reliquant.cli.output import Output
from reliquant.cli.words import IMAGES, MODEL, RANDOM_WEIGHTS, TOWER, UNREADABLE, positive, writable
from reliquant.device import choose
from reliquant.evaluation.embed import embed_images
from reliquant.evaluation.features import Features
from reliquant.files.artifacts import whole
from reliquant.images.open import named_images, open_images
from reliquant.layers.backend import Backend, use_backend
from reliquant.layers.variant import load_variant
from reliquant.models.open import open_model
from reliquant.study.prompts import template_problems

EXAMPLE = "reliquant evaluate --model lab-vit-curated --data photos/ --ood others/ --save features.safetensors"
BACKEND = (
    "of a variant: simulate rounds in floating point, integer multiplies int8 codes and says where it cannot, auto"
    " multiplies codes where that is possible and faster"
)


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("--model", required=True, help=MODEL)
    parser.add_argument("--tower", help=TOWER)
    parser.add_argument("--random-weights", action="store_true", help=RANDOM_WEIGHTS)
    parser.add_argument("--variant", type=Path, help="made by `reliquant quantize`; FP32 if left out")
    parser.add_argument("--data", required=True, help=f"labelled images: {IMAGES}")
    parser.add_argument("--ood", nargs="*", default=[], help="out-of-distribution images, likewise; without labels")
    parser.add_argument("--templates", nargs="+", help="prompts with {} for the class, in place of the dataset's own")
    parser.add_argument("--unreadable", choices=["stop", "skip"], default="stop", help=UNREADABLE)
    parser.add_argument("--batch", type=positive, default=256)
    parser.add_argument("--resamples", type=positive, default=10_000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--backend", choices=["auto", "simulate", "integer"], default="auto", help=BACKEND)
    parser.add_argument("--scale", choices=["native", "tuned"], default="native", help="logit scale of the softmax")
    parser.add_argument("--save", type=Path, help="keep the features, for `reliquant measure`")
    parser.add_argument("--json", action="store_true")


def run(
    *,
    model: str,
    tower: str | None = None,
    random_weights: bool = False,
    variant: Path | None,
    data: str,
    ood: list[str],
    templates: list[str] | None,
    unreadable: Literal["stop", "skip"],
    batch: int,
    resamples: int,
    device: str,
    backend: Backend,
    scale: str,
    save: Path | None,
) -> Output:
    """Embed labelled images with a model, or with a variant of it, and measure, at its own logit scale or the tuned."""
    for problem in () if templates is None else template_problems(templates):
        raise ValueError(f"--templates: {problem}")
    if save:
        writable(save, "--save")
    name = named_images(data, "labelled").name  # what is wrong with paths is told before a model is read
    for word in ood:
        named_images(word, "ood")
    if variant and random_weights:
        raise ValueError(f"{variant}: a variant has the weights of its model: leave out --random-weights")
    if variant:
        clip, header = load_variant(Path(model), variant, tower=tower)
    else:
        clip, header = open_model(model, random_weights=random_weights, tower=tower), {}
    if scale == "tuned" and header.get("logit_scale_tuned") is None:
        raise ValueError(f"{variant or model}: has no tuned logit scale; `reliquant quantize --tuning` makes one")
    device = choose(device)
    clip.model.to(device)
    if variant:
        use_backend(clip.model, backend, str(variant))
    images = open_images(data, clip.form, role="labelled", unreadable=unreadable)
    logit_scale = header["logit_scale_tuned"] if scale == "tuned" else None
    test = embed_images(clip, images, templates=templates, logit_scale=logit_scale, batch=batch, device=device)
    if save:
        _save(save, test)
    others = {}
    for word in ood:
        other = open_images(word, clip.form, role="ood", unreadable=unreadable)
        others[word] = embed_images(clip, other, beside=test, batch=batch, device=device)
    return with_scores(data if name in others else name, test, others, resamples)


def _save(path: Path, features: Features) -> None:
    """Write features as `reliquant measure` reads them."""
    scale, bias = np.float32([features.logit_scale]), np.float32([features.logit_bias])
    arrays = {"image": features.image, "label": features.label, "text": features.text}
    with whole(path) as part:
        save_file({**arrays, "logit_scale": scale, "logit_bias": bias}, part)
