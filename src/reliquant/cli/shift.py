"""`reliquant shift`: effective robustness of many models, from their answers on clean and on shifted images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from reliquant.cli.measure_paired import add_row_words, labels_of_rows
from reliquant.cli.names import names_of
from reliquant.cli.output import Output
from reliquant.cli.shift_text import data_of, text_of
from reliquant.cli.words import positive, writable
from reliquant.evaluation.answers import LEVELS
from reliquant.evaluation.paired import Quantized, measure_paired
from reliquant.files.artifacts import UNKNOWN, provenance, save_frame
from reliquant.grid import parse_precision
from reliquant.measures.robustness import Axis, Robustness, robustness
from reliquant.measures.shift import NEAREST
from reliquant.progress import say
from reliquant.stored.beside import unique_names
from reliquant.stored.shifted import FP32, Listed, Side, checked, read_list, read_sides

EXAMPLE = "reliquant shift models.csv --rows shift.parquet"
LISTED = (
    "a CSV with the columns model, clean, shifted (tables of label and prediction, or of what `measure` takes), and"
    " maybe scheme, precision and baseline (yes or no); or YAML, a list of such words"
)


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("models", type=Path, nargs="?", help=f"a list of models: {LISTED}")
    clean = "in place of a list: tables of FP32 models on clean images, whose names are the models'"
    parser.add_argument("--clean", type=Path, nargs="*", default=[], help=clean)
    shifted = "of the same models, in the same order, on shifted images"
    parser.add_argument("--shifted", type=Path, nargs="*", default=[], help=shifted)
    parser.add_argument("--set", dest="name", default="shifted", help="the name of the shifted images in the rows")
    axis = "of the line: logit (Taori et al. 2020) or probit (Miller et al. 2021)"
    parser.add_argument("--axis", choices=["logit", "probit"], default="logit", help=axis)
    parser.add_argument("--names", nargs="*", default=[], help="what columns are called, as of `measure`")
    add_row_words(parser, model=False)
    parser.add_argument("--resamples", type=positive, default=10_000, help="of the bootstrap")
    parser.add_argument("--json", action="store_true")


def run(
    *,
    models: Path | None,
    clean: list[Path],
    shifted: list[Path],
    name: str,
    axis: Axis,
    names: list[str],
    rows: Path | None,
    resamples: int,
    **words: str | None,
) -> Output:
    """Fit the line through the baselines, and say how far each model lies above it."""
    if rows is not None:
        writable(rows, "--rows")
    listed, said = _models(models, clean, shifted), list[str]()
    sides = read_sides(listed, said, names=names_of(names))
    fp32 = {one.model: place for place, one in enumerate(listed) if one.scheme == FP32}
    of = np.array([-1 if one.scheme == FP32 else fp32[one.model] for one in listed])
    baseline = np.array([one.baseline for one in listed])
    right, labels = [side.right for side in sides], (sides[0].label, sides[1].label)
    found = robustness(right[0], right[1], baseline, of, labels, axis=axis, resamples=resamples)
    said += _said_of_ends(listed, found, axis)
    if baseline.sum() == 2:
        said.append("two baselines: every line passes through both, so that their own effective robustness is 0")
    said = list(dict.fromkeys(said))
    for line in said:
        say("reliquant shift", line)
    images = {"clean": len(labels[0]), "shifted": len(labels[1])}
    data = data_of(listed, found) | {"images": images, "axis": axis, "assumed": said}
    text = text_of(data)
    if rows is not None:
        frame = _rows(listed, sides, name, rows, words, resamples)
        save_frame(rows, frame, provenance(assumed=said))
        text += f"\n\n{rows}: {len(frame):,} rows"
    return Output(data, text)


def _said_of_ends(listed: Sequence[Listed], found: Robustness, axis: Axis) -> list[str]:
    """Say which accuracies are so near to 0 or 1 that they are moved to have a place on the axes."""
    said = []
    for place, one in enumerate(listed):
        for name, accuracy in (("clean", found.clean.value[place]), ("shifted", found.shifted.value[place])):
            kept = min(max(accuracy, NEAREST), 1 - NEAREST)
            if kept == accuracy:
                continue
            told = f"{one.name}: the accuracy on {name} images, {accuracy:.2%}, is taken as {kept:.2%} on {axis} axes"
            told += ", and the line goes through it: slope and all else depend on that number" * one.baseline
            said.append(
                told + ("; no resample differs, so that its distance has no interval" if accuracy in (0, 1) else "")
            )
    return said


def _models(models: Path | None, clean: Sequence[Path], shifted: Sequence[Path]) -> list[Listed]:
    """Return the models of a list, or of two lists of tables in the same order."""
    if (models is None) == (not clean and not shifted):
        raise ValueError("name a list of models, or their tables by --clean and --shifted in the same order")
    if models is not None:
        listed = read_list(models)
        for one in listed:
            try:
                one.precision and parse_precision(one.precision)
            except ValueError as error:
                raise ValueError(f"{models}: {one.name}: {error}") from error
        return listed
    if len(clean) != len(shifted):
        raise ValueError(f"--clean names {len(clean)} tables and --shifted {len(shifted)}: each model needs both")
    both = zip(unique_names(clean), clean, shifted, strict=True)
    return checked([Listed(name, *tables) for name, *tables in both], "--clean")


def _rows(
    listed: Sequence[Listed], sides: Sequence[Side], name: str, rows: Path, words: dict[str, str | None], resamples: int
) -> pl.DataFrame:
    """Return rows of a study: of each FP32 model, and of its variants beside it, on clean and on shifted images."""
    answers = []
    for clean, shifted in zip(sides[0].answers, sides[1].answers, strict=True):
        known = min(clean.known, shifted.known, key=LEVELS.index)
        answers.append(replace(clean, shifted={name: shifted.clean}, known=known))
    parts = []
    for place, one in enumerate(listed):
        if one.scheme != FP32:
            continue
        variants = {}
        for other, answer in zip(listed, answers, strict=True):
            if other.model == one.model and other.scheme != FP32:
                variants[other.scheme] = Quantized(answer, other.precision or UNKNOWN)
        labels = labels_of_rows(rows, one.model, words)
        parts.append(measure_paired(variants, answers[place], labels, resamples=resamples))
    return pl.concat(parts)
