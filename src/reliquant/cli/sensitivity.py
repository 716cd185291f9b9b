"""`reliquant sensitivity`: quantize one layer at a time and rank layers by the harm that it does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal

import polars as pl

from reliquant.cli.output import Output
from reliquant.cli.quantize import SHARE, share
from reliquant.cli.words import IMAGES, RANDOM_WEIGHTS, UNREADABLE, add_model_words, positive, read_scheme, writable
from reliquant.device import choose
from reliquant.evaluation.kept_rows import KeptRows
from reliquant.evaluation.one_layer import ALONE, By, Sets, as_rows, identity, one_at_a_time, ranked
from reliquant.files.artifacts import provenance, save_frame, whole
from reliquant.images.open import named_images, open_images
from reliquant.models.open import open_model
from reliquant.models.parts import Scope
from reliquant.quantization.held_out import make_pairs
from reliquant.report.draw import draw_figure
from reliquant.report.escaping import one_line
from reliquant.report.plotting import save
from reliquant.study.config import HELD_OUT
from reliquant.study.prompts import template_problems
from reliquant.study.sensitivity import alone_problem

EXAMPLE = "reliquant sensitivity --model lab-vit-curated --precision w4a8 --pairs pairs.parquet --data photos/"
SHOWN = ("output_error", "accuracy_change", "ece_change", "squared_ce_change", "auroc_change")
TITLES = ("output error", "accuracy", "ECE", "squared CE", "AUROC")
FORMS: dict[str, Literal["pdf", "png", "svg"]] = {".pdf": "pdf", ".png": "png", ".svg": "svg"}
Rank = Literal["output_error", "accuracy", "ece", "auroc"]


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    add_model_words(parser)
    parser.add_argument("--random-weights", action="store_true", help=RANDOM_WEIGHTS)
    parser.add_argument("--pairs", required=True, help=f"captioned images: {IMAGES}")
    parser.add_argument("--data", required=True, nargs="+", help=f"labelled images: {IMAGES}")
    parser.add_argument("--ood", nargs="*", default=[], help="out-of-distribution images, likewise; without labels")
    parser.add_argument("--templates", nargs="+", help="prompts with {} for the class, in place of the datasets' own")
    parser.add_argument("--unreadable", choices=["stop", "skip"], default="stop", help=UNREADABLE)
    parser.add_argument("--by", choices=["layer", "block"], default="layer", help="what is quantized at a time")
    parser.add_argument("--rank", choices=["output_error", "accuracy", "ece", "auroc"], default="output_error")
    parser.add_argument("--number", type=positive, default=1000, help="how many pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", type=share, default=HELD_OUT, help=SHARE)
    parser.add_argument("--batch", type=positive, default=256)
    parser.add_argument("--resamples", type=positive, default=1000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, help="write all rows, as those of a study (parquet)")
    parser.add_argument("--figure", type=Path, help="draw them (pdf, png or svg)")
    parser.add_argument("--json", action="store_true")


def run(
    *,
    model: str | None,
    tower: str | None = None,
    random_weights: bool = False,
    scheme: str,
    precision: str,
    scope: Scope,
    pairs: str,
    data: list[str],
    ood: list[str],
    templates: list[str] | None,
    unreadable: Literal["stop", "skip"],
    by: By,
    rank: Rank,
    number: int,
    seed: int,
    held_out: float,
    batch: int,
    resamples: int,
    device: str,
    output: Path | None,
    figure: Path | None,
) -> Output:
    """Quantize one layer (or block) at a time, and show what each does to embeddings, accuracy, calibration and OOD."""
    if model is None:
        raise ValueError("--model: missing; name a model")
    entry = _checked(scheme, precision, templates, rank, ood, {"--output": output, "--figure": figure})
    names = {word: named_images(word, "labelled").name for word in data}
    if len(set(names.values())) < len(names):
        names = {word: word for word in data}
    named_images(pairs, "pairs")  # what is wrong with paths is told before a model is read
    for word in ood:
        named_images(word, "ood")
    clip = open_model(model, random_weights=random_weights, tower=tower)
    device = choose(device)
    clip.model.to(device)
    known = {names[word]: open_images(word, clip.form, role="labelled", unreadable=unreadable) for word in data}
    others = {word: open_images(word, clip.form, role="ood", unreadable=unreadable) for word in ood}
    captioned = open_images(pairs, clip.form, role="pairs", unreadable=unreadable)
    made = make_pairs(captioned, number, seed, device, held_out=held_out)
    sets = Sets(known, others, templates, batch, device)
    words = {"by": by, "resamples": resamples}
    labels = {"model": model, "scheme": entry["quantizer"], "precision": precision, "scope": scope, "seed": seed}
    if output:
        kept = KeptRows.beside(output, identity(clip, entry, scope, made, sets, **words))
        with kept.alone():
            found = one_at_a_time(clip, entry, scope, made.proxy, sets, **words, kept=kept)
            facts = {"entry": entry, "by": by, "labels": labels, "device": device}
            save_frame(output, as_rows(found, labels), provenance(kind="sensitivity", **facts))
            kept.clear()
    else:
        found = one_at_a_time(clip, entry, scope, made.proxy, sets, **words)
    if figure:
        drawn = save(draw_figure(as_rows(found, labels), "sensitivity"), FORMS[figure.suffix])
        with whole(figure) as part:
            part.write_bytes(drawn)
    return _table(ranked(found, rank), by)


def _checked(
    scheme: str, precision: str, templates: list[str] | None, rank: Rank, ood: list[str], files: dict[str, Path | None]
) -> dict[str, Any]:
    """Return the scheme's entry; raise ValueError naming the word that is wrong before a model is read."""
    entry = read_scheme(scheme, precision)
    if problem := alone_problem(entry):
        raise ValueError(f"--scheme: {problem}")
    for problem in () if templates is None else template_problems(templates):
        raise ValueError(f"--templates: {problem}")
    if rank == "auroc" and not ood:
        raise ValueError("--rank auroc: needs --ood, images out of distribution")
    for word, path in files.items():
        if path:
            writable(path, word)
    if (figure := files["--figure"]) and figure.suffix not in FORMS:
        raise ValueError(f"--figure {figure}: write .pdf, .png or .svg")
    return entry


def _table(wide: pl.DataFrame, by: By) -> Output:
    """Lay out the ranking: changes in points, each with its interval where it has one."""
    width = max([len(by), *(len(one_line(name)) for name in wide["group"])])
    measures = [(m, t) for m, t in zip(SHOWN, TITLES, strict=True) if f"value_{ALONE}{m}" in wide.columns]
    lines = [" ".join([f"{by:{width}}", *(f"{title:>26}" for _, title in measures)])]
    data = []
    for row in wide.iter_rows(named=True):
        cells, values = [], {}
        for measure, _ in measures:
            value, low, high = (row.get(f"{end}_{ALONE}{measure}") for end in ("value", "low", "high"))
            cells.append(f"{_cell(measure, value, low, high):>26}")
            values[measure] = {"value": value, "low": low, "high": high}
        lines.append(" ".join([f"{one_line(row['group']):{width}}", *cells]))
        data.append({by: row["group"], **values})
    lines.append(
        "changes from FP32 in points, most harm first; output error is |e_q - e|^2 of unit embeddings, times 100"
    )
    return Output(data, "\n".join(lines))


def _cell(measure: str, value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    sign = "" if measure == "output_error" else "+"
    ends = "" if low is None or high is None else f" ({100 * low:{sign}.2f} .. {100 * high:{sign}.2f})"
    return f"{100 * value:{sign}.2f}{ends}"
