"""`reliquant evaluate`: embed labelled images and print every measure."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from reliquant.cli.inputs import open_images, open_model
from reliquant.cli.measure import with_scores
from reliquant.cli.output import Output
from reliquant.cli.words import MODEL
from reliquant.device import choose
from reliquant.evaluation.features import Features
from reliquant.evaluation.zero_shot import image_features, logit_scale_and_bias, text_head
from reliquant.layers.backend import Backend, use_backend
from reliquant.layers.variant import load_variant

EXAMPLE = "reliquant evaluate --model lab-vit-curated --data photos/ --ood others/ --save features.safetensors"
BACKEND = (
    "of a variant: simulate rounds in floating point, integer multiplies int8 codes and says where it cannot, auto"
    " multiplies codes where that is possible and faster"
)


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("--model", required=True, help=MODEL)
    parser.add_argument("--variant", type=Path, help="made by `reliquant quantize`; FP32 if left out")
    parser.add_argument("--data", required=True, help="labelled images: a folder, .parquet, .tar, or entry (YAML)")
    parser.add_argument("--ood", nargs="*", default=[], help="out-of-distribution images, likewise")
    parser.add_argument("--templates", nargs="+", default=["a photo of a {}."], help="prompts with {} for the class")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--backend", choices=["auto", "simulate", "integer"], default="auto", help=BACKEND)
    parser.add_argument("--scale", choices=["native", "tuned"], default="native", help="logit scale of the softmax")
    parser.add_argument("--save", type=Path, help="keep the features, for `reliquant measure`")
    parser.add_argument("--json", action="store_true")


def run(
    *,
    model: str,
    variant: Path | None,
    data: str,
    ood: list[str],
    templates: list[str],
    batch: int,
    resamples: int,
    device: str,
    backend: Backend,
    scale: str,
    save: Path | None,
) -> Output:
    """Embed labelled images with a model, or with a variant of it, and measure, at its own logit scale or the tuned."""
    clip, header = load_variant(Path(model), variant) if variant else (open_model(model), {})
    if scale == "tuned" and header.get("logit_scale_tuned") is None:
        raise ValueError(f"{variant or model}: has no tuned logit scale; `reliquant quantize --tuning` makes one")
    device = choose(device)
    clip.model.to(device)
    if variant:
        use_backend(clip.model, backend, str(variant))
    images = open_images(data, clip.form)
    if not images.meta["classes"]:
        raise ValueError(f"{data}: has no classes to tell apart")
    head = text_head(clip, images.meta["classes"], templates, device=device)
    logit_scale, bias = logit_scale_and_bias(clip)
    logit_scale = header["logit_scale_tuned"] if scale == "tuned" else logit_scale

    def features(array: NDArray[np.uint8], label: NDArray[np.int64]) -> Features:
        return Features(image_features(clip, array, batch=batch, device=device), head, label, logit_scale, bias)

    test = features(images.images, images.labels)
    if save:
        arrays = {"image": test.image, "label": test.label, "text": head, "logit_scale": np.float32([logit_scale])}
        save_file(arrays | {"logit_bias": np.float32([bias])}, save)
    others = {}
    for word in ood:
        other = open_images(word, clip.form)
        others[word] = features(other.images, np.full(len(other.images), -1))
    return with_scores(Path(data).stem, test, others, resamples)
