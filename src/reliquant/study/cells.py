"""Cells: what one evaluation job forwards, one entry for each dataset, reference and corruption of a suite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from reliquant.study.config import Noise, Suites


class Cell(TypedDict):
    """Name what is measured, without the folders of a model.

    `reference` is the dataset whose classes tell the images apart; `group` is `near` or `far` in the ood suite and
    else empty; `corruption` is empty where there is none, and then `severities` is [0]; `images` is how many of the
    dataset's images are taken, None for all.
    """

    suite: str
    dataset: str
    reference: str
    group: str
    corruption: str
    severities: list[int]
    images: int | None


class PlacedCell(Cell):
    """Add the prepared folders that fit a model: of the images, of the classes, and of what scores fit on (or None)."""

    folder: str
    head: str
    fit: str | None


class ExplainCell(TypedDict):
    """Name a dataset that explaining a variant forwards, or whose records it reads, with its prepared folder."""

    suite: str
    dataset: str
    folder: str


def cells_of(suite: str, suites: Suites, /) -> Iterator[Cell]:
    """List the cells of one suite of a config; the order of a config's keys means nothing."""
    if suite == "clean":
        for dataset in suites.clean:
            yield _cell(suite, dataset, dataset)
    elif suite == "spurious":
        for dataset in suites.spurious:
            yield _cell(suite, dataset, dataset)
    elif suite == "shift":
        for reference, datasets in sorted(suites.shift.items()):
            for dataset in datasets:
                yield _cell(suite, dataset, reference)
    elif suite == "ood":
        for reference, groups in sorted(suites.ood.items()):
            for group in ("near", "far"):
                for dataset in groups.get(group, []):
                    yield _cell(suite, dataset, reference, group=group)
    else:
        for dataset, noise in sorted(suites.noise.items()):
            yield from _noisy(dataset, noise)


def _noisy(dataset: str, noise: Noise) -> Iterator[Cell]:
    for corruption in noise.corruptions:
        cell = _cell("noise", dataset, dataset)
        cell["corruption"], cell["severities"], cell["images"] = corruption, noise.severities, noise.images
        yield cell


def _cell(suite: str, dataset: str, reference: str, group: str = "") -> Cell:
    return {
        "suite": suite,
        "dataset": dataset,
        "reference": reference,
        "group": group,
        "corruption": "",
        "severities": [0],
        "images": None,
    }
