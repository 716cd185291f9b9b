"""`reliquant measure`: every measure and OOD score of stored tables, beside a reference every change; no model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reliquant.cli.measure_paired import add_paired_words, paired, usual_scores
from reliquant.cli.names import names_of
from reliquant.cli.output import Output, measured_output
from reliquant.cli.words import positive
from reliquant.evaluation.features import Features
from reliquant.evaluation.measure import measure_features, measure_probabilities
from reliquant.evaluation.paired import measure_answers
from reliquant.files.stored_frames import errors_named
from reliquant.progress import say
from reliquant.stored.beside import answers_of, class_names, kind_of, unique_names
from reliquant.stored.features import doubts_of, features_of, labels_of
from reliquant.stored.read import read_table

EXAMPLE = "reliquant measure features.safetensors --ood other.safetensors --json"
FEATURES = (
    "image (n,d), label (n), text (c,d), logit_scale (1: the multiplier of the cosines, exp of the model's parameter),"
    " and maybe logit_bias (1), photograph (n, whole numbers: equal for equal images) and id (n);"
    " or probabilities or logits (n,c) and label (n); or prediction (n), label (n) and maybe confidence (n)"
)


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("features", type=Path, nargs="+", help=f"tables of a model or of several variants: {FEATURES}")
    ood = "tables of other images; with several variants once for each: --ood A1 A2 --ood B1 B2"
    parser.add_argument("--ood", type=Path, nargs="*", action="append", help=ood)
    names = "what ours are called there, where they have no usual name: image=img_emb"
    parser.add_argument("--names", nargs="*", default=[], help=names)
    add_paired_words(parser)
    parser.add_argument("--resamples", type=positive, default=10_000, help="of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print JSON: one object for each dataset, or variant")


def run(
    *,
    features: list[Path],
    ood: list[list[Path]] | None,
    names: list[str],
    resamples: int,
    reference: Path | None = None,
    **words: Any,
) -> Output:
    """Measure stored tables, each by itself or beside a reference."""
    asked = names_of(names)
    if reference is not None:
        own = names_of(words.pop("reference_names")) or None
        return paired(features, ood or [], (asked, own), resamples, reference, **words)
    given = [f"--{word.replace('_', '-')}" for word, value in words.items() if value not in (None, [])]
    if given:
        raise ValueError(f"{', '.join(given)}: need --reference, the table of FP32 on the same images")
    others = [path for one in ood or [] for path in one]
    found = {}
    for path, name in zip(features, unique_names(features), strict=True):
        found |= _alone(path, name, others, asked, resamples)
    return measured_output(found)


def _alone(path: Path, name: str, ood: Sequence[Path], names: Mapping[str, str], resamples: int) -> dict[str, object]:
    """Measure one table without a reference."""
    table = read_table(path, names=names)
    _say(table.said)
    kind, unread = kind_of([table]), "image, text and logit_scale are not read, as there are probabilities"
    if kind == "probabilities" and ood:
        raise ValueError(f"{path}: probabilities give no OOD scores; give image and text features")
    if kind == "image":
        test = features_of(table, labelled=True)
        for doubt in doubts_of(path, test):
            print(f"reliquant measure: warning: {doubt}", file=sys.stderr)
        tables = {str(other.with_suffix("")): read_table(other, names=names) for other in ood}
        _say([line for other in tables.values() for line in other.said])
        others = {word: features_of(other, table) for word, other in tables.items()}
        return _scored(name, test, others, resamples)
    if kind == "probabilities":
        if "image" in table.arrays:
            print(f"reliquant measure: warning: {path}: {unread}", file=sys.stderr)
        table.require("label")
        column = table.arrays["probabilities"]
        label = labels_of(table, len(column))
        with errors_named(path):
            return {name: measure_probabilities(column.exact(slice(None)), label, resamples=resamples)}
    said: list[str] = []
    sets = {str(other.with_suffix("")): read_table(other, names=names) for other in ood}
    answers = answers_of(table, sets, {}, said, kind=kind, classes=class_names([table]))
    _say(said)
    with errors_named(path):
        return dict(measure_answers(answers, name=name, resamples=resamples))


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        say("reliquant measure", line)


def _scored(name: str, test: Features, others: Mapping[str, Features], resamples: int) -> dict[str, object]:
    return dict(measure_features(test, others, usual_scores(), resamples=resamples, name=name))


def with_scores(name: str, test: Features, others: Mapping[str, Features], resamples: int, /) -> Output:
    """Measure labelled features, and the common OOD scores on them against each set of other images."""
    return measured_output(_scored(name, test, others, resamples))
