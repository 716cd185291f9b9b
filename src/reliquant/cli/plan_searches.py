"""What the suite retrieval takes before it is run: rows, bytes of embeddings, multiply-accumulates; free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from reliquant import plugins
from reliquant.evaluation.retrieve import rows_of
from reliquant.measures.retrieval import Captioned
from reliquant.study.retrieval import indexes_of, searched, sets_of, widths
from reliquant.study.study import Study

FEW = 12  # made-up images of a set, in two classes
FLOAT = 4  # bytes
ROWS = "rows of searches"


def search_rows(study: Study, /) -> dict[str, int]:
    """Count the rows of searches by measuring a few made-up embeddings; sets are taken to have classes."""
    paths, sets = searched(study), sets_of(study, next(iter(study.config.models)))
    if not paths:
        return {}
    forms = indexes_of(study)
    width = max([8, *(entry.get("dimensions", 0) for entry in forms.values())])
    image = np.random.default_rng(0).normal(size=(FEW, width)).astype(np.float32)
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    of_set = Captioned(image, image, np.arange(FEW), np.arange(FEW) % 2)
    made = {each["dataset"]: of_set for each in sets}
    counts = {name: {"repeated": 0, "captions": FEW} for name in made}
    labels = study.row_labels(study.variants[paths[0]])
    words = {"indexes": forms, "resamples": 100}
    fp32 = sum(study.variants[path].scheme == "fp32" for path in paths)
    exact, quantized = (len(rows_of(made, other, counts, labels, **words)) for other in ({}, made))
    return {ROWS: fp32 * exact + (len(paths) - fp32) * quantized}


def embedding_bytes(study: Study, images: Callable[[Study, str], int], /) -> int:
    """Estimate the bytes of all embeddings, of models whose width is known; `images` counts those of a dataset."""
    total, known = 0, widths(study)
    for path in searched(study):
        model = study.variants[path].model
        for each in sets_of(study, model):
            number = images(study, each["dataset"])
            total += FLOAT * known.get(model, 0) * (number + number * _captions(study, each["dataset"]))
    return total


def embed_gflop(
    study: Study,
    images: Callable[[Study, str], int],
    gflop: Callable[[Study, str], Mapping[str, float]],
    /,
) -> float:
    """Estimate the GFLOP of embedding: `gflop` tells those of one image and one caption of a model."""
    total = 0.0
    for path in searched(study):
        model = study.variants[path].model
        each_takes = gflop(study, model)
        for each in sets_of(study, model):
            number = images(study, each["dataset"])
            captions = number * _captions(study, each["dataset"])
            total += number * each_takes.get("image", 0) + captions * each_takes.get("text", 0)
    return total


def _captions(study: Study, dataset: str) -> int:
    """Return how many captions an image has, where the entry or its plugin says a number; else 1."""
    entry = study.dataset_entry(dataset)
    words = plugins.words(plugins.source("dataset", entry["dataset"]), "dataset")
    said = entry.get("captions", words["captions"][1] if "captions" in words else 1)
    return said if isinstance(said, int) else 1
