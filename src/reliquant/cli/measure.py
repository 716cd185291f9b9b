"""`reliquant measure`: every measure and OOD score of stored features or probabilities; no model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reliquant import plugins
from reliquant.cli.output import Output, measured_output
from reliquant.cli.stored_features import doubts_of, features_of, labels_of, naming, read_arrays, require
from reliquant.cli.words import positive
from reliquant.evaluation.features import Features
from reliquant.evaluation.measure import measure_features, measure_probabilities

EXAMPLE = "reliquant measure features.safetensors --ood other.safetensors --json"
SCORES = ("mcm", "msp", "max_logit", "energy")
FEATURES = (
    "safetensors with image (n,d), label (n), text (c,d), logit_scale (1: the multiplier of the cosines, exp of the"
    " model's parameter), and maybe logit_bias (1) and photograph (n, whole numbers: equal for equal images);"
    " or with probabilities (n,c) and label (n)"
)


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("features", type=Path, help=FEATURES)
    parser.add_argument("--ood", type=Path, nargs="*", default=[], help="safetensors with image (n,d) of other images")
    parser.add_argument("--resamples", type=positive, default=10_000, help="of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print JSON: one object for each dataset")


def run(*, features: Path, ood: list[Path], resamples: int) -> Output:
    """Measure stored features (image, label, text, logit_scale) or probabilities (probabilities, label)."""
    arrays = read_arrays(features)
    if "probabilities" in arrays:
        require(features, arrays, "label")
        if "image" in arrays:
            said = "image, text and logit_scale are not read, as there are probabilities"
            print(f"reliquant measure: warning: {features}: {said}", file=sys.stderr)
        label = labels_of(features, arrays, len(arrays["probabilities"]))
        if ood:
            raise ValueError(f"{features}: probabilities give no OOD scores; give image and text features")
        with naming(features):
            measured = measure_probabilities(arrays["probabilities"], label, resamples=resamples)
        return measured_output({features.stem: measured})
    require(features, arrays, "image", "label", "text", "logit_scale")
    test = features_of(features, arrays, arrays, labels_of(features, arrays, len(arrays["image"])))
    for doubt in doubts_of(features, test):
        print(f"reliquant measure: warning: {doubt}", file=sys.stderr)
    others = {}
    for path in ood:
        other = read_arrays(path)
        require(path, other, "image")
        others[str(path.with_suffix(""))] = features_of(path, other, arrays, np.full(len(other["image"]), -1))
    return with_scores(features.stem, test, others, resamples)


def with_scores(name: str, test: Features, others: Mapping[str, Features], resamples: int, /) -> Output:
    """Measure labelled features, and the common OOD scores on them against each set of other images."""
    scores = {score: plugins.load("score", {"score": score}) for score in SCORES}
    return measured_output(measure_features(test, others, scores, resamples=resamples, name=name))
