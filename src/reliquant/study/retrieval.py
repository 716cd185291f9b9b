"""The suite retrieval of a study: the variants whose embeddings are searched, on which captioned sets, and how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypedDict

from reliquant import plugins
from reliquant.download import published
from reliquant.study import paths
from reliquant.study.config import RETRIEVAL, Entry, Retrieval
from reliquant.study.own_preprocessing import small_description
from reliquant.study.seen import seen_problems, seen_sets
from reliquant.study.study import Study
from reliquant.study.variants import Variant, is_named, part_problems

WHERE = f"suites: {RETRIEVAL}"


class CaptionedSet(TypedDict):
    """Name a captioned dataset whose images and captions are embedded: its prepared folder and its entry."""

    dataset: str
    folder: str
    entry: Entry


def searched(study: Study, /) -> list[str]:
    """Return the paths of the variants that are searched: FP32 and the part of the grid that the suite names."""
    asked = study.config.suites.retrieval
    if asked is None:
        return []
    return [path for path, v in study.variants.items() if v.scheme == "fp32" or is_named(v, asked)]


def sets_of(study: Study, model: str, /) -> list[CaptionedSet]:
    """List the captioned datasets that a variant of a model embeds."""
    asked = study.config.suites.retrieval
    if asked is None:
        return []
    return [
        {"dataset": name, "folder": study.prepared(name, model), "entry": study.dataset_entry(name)}
        for name in asked.datasets
    ]


def indexes_of(study: Study, /) -> dict[str, Entry]:
    """Return the words of each stored form, beside float32, in which embeddings are searched."""
    asked = study.config.suites.retrieval
    return dict(asked.indexes) if asked else {}


def images_of(study: Study, model: str, /) -> list[str]:
    """List the arrays of images that a variant of a model embeds, with what is known of them."""
    folders = [each["folder"] for each in sets_of(study, model)]
    return [file for folder in folders for file in (paths.images(folder), paths.meta(folder))]


def seen_by(study: Study, variant: Variant, /) -> list[str]:
    """List the files that tell which photographs a variant has seen, for its embeddings to be told apart from them."""
    folders = [each["folder"] for each in seen_sets(study, variant)]
    return [file for folder in folders for file in (paths.photographs(folder), paths.meta(folder))]


def embeddings_of(study: Study, variant: Variant, /) -> list[str]:
    """List the embeddings that the rows of a variant are made of: its own, then those of FP32, if it is not FP32."""
    both = dict.fromkeys([str(variant), str(variant.baseline)])
    return [paths.embeddings(study.name, path) for path in both]


def facts_of(study: Study, variant: Variant, /) -> dict[str, Any]:
    """Return what the rows of a variant's searches must say of themselves, and with it what their job is told."""
    labels, indexes = study.row_labels(variant), indexes_of(study)
    return {"labels": labels, "suites": [RETRIEVAL], "indexes": indexes}


def retrieval_problems(study: Study, /) -> Iterator[str]:
    """Say which datasets, forms and words of the grid the suite names that are not there, or have no captions."""
    asked = study.config.suites.retrieval
    if asked is None:
        return
    for name in asked.datasets:
        if name not in study.config.datasets:
            yield f"{WHERE}: {plugins.unknown('dataset', name, study.config.datasets)}"
        elif problem := _caption_problem(str(study.dataset_entry(name)["dataset"])):
            yield f"{WHERE}: {name}: {problem}"
        else:
            yield from (f"{WHERE}: {problem}" for problem in seen_problems(study, name))
    for name in sorted({name for name in asked.datasets if asked.datasets.count(name) > 1}):
        yield f"{WHERE}: datasets: {name!r} is there twice"
    yield from part_problems(study.config, WHERE, asked)
    yield from _index_problems(study, asked)


def _caption_problem(dataset: str) -> str:
    """Say that a dataset of the package has no captions, or none that say what its images show; empty for others."""
    if dataset not in plugins.names("dataset"):
        return ""  # of a plugin of one's own, or told with the entry
    if plugins.literal("dataset", dataset, "UNPAIRED"):
        return f"the captions of {dataset} say nothing about the images"
    captioned = [name for name in plugins.names("dataset") if plugins.literal("dataset", name, "CAPTIONED")]
    return "" if dataset in captioned else f"{dataset} has no captions to search; there are {', '.join(captioned)}"


def _index_problems(study: Study, asked: Retrieval) -> Iterator[str]:
    """Say which words of stored forms are wrong, and which forms keep more dimensions than embeddings have."""
    known = widths(study)
    narrow = min(known, key=lambda model: known[model], default="")
    for name, entry in asked.indexes.items():
        problems = list(plugins.check("index", entry))
        yield from (f"{WHERE}: indexes: {name}: {problem}" for problem in problems)
        kept = entry.get("dimensions")
        if narrow and not problems and isinstance(kept, int) and kept > known[narrow]:
            told = f"the embeddings of {narrow} have {known[narrow]}; take fewer, or another form"
            yield f"{WHERE}: indexes: {name}: dimensions: {kept}: {told}"


def widths(study: Study, /) -> dict[str, int]:
    """Return the width of the embeddings of the models where it is known without their weights."""
    found = {}
    for model in study.config.models:
        entry = study.tower_entry(model)
        name, described = str(entry.get("architecture", "")), None
        with suppress(ValueError, OSError):
            described = small_description(name) if entry.get("tower") == "small" else published.description(name)
        if isinstance(width := (described or {}).get("embed_dim"), int):
            found[model] = width
    return found
