"""Which layers to spare, as part of a study: the variants whose layers are quantized one at a time, and on what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from reliquant import plugins
from reliquant.study import paths
from reliquant.study.config import Entry, with_grids
from reliquant.study.scheme import variant_words
from reliquant.study.study import Study
from reliquant.study.variants import Variant, is_named, part_problems


class TriedSet(TypedDict):
    """Name a dataset that is forwarded with one layer quantized: its prepared folder and its entry.

    `against` names the clean datasets that it is out of distribution for; it is empty for these themselves.
    """

    dataset: str
    folder: str
    entry: Entry
    against: list[str]


def alone_problem(entry: Mapping[str, Any], /) -> str:
    """Say why a scheme has no layers that could be quantized one at a time; empty where it has."""
    quantizer, layers = entry.get("quantizer"), entry.get("layers")
    if quantizer == "mixed":
        return f"mixed chooses bits among layers; name its method, {entry.get('method', 'rtn')}"
    if quantizer == "none":
        return "none rounds nothing; name a method that does"
    if isinstance(layers, Mapping) and layers.get("attention") is not None:
        return "layers: attention: layers are tried one at a time, products of attention are not; leave it out"
    return ""


def tried(study: Study, /) -> list[str]:
    """Return the paths of the variants whose layers are tried alone; none where the config does not ask for it."""
    asked = study.config.sensitivity
    if asked is None:
        return []
    return [path for path, v in study.variants.items() if v.scheme != "fp32" and is_named(v, asked)]


def entry_of(study: Study, variant: Variant, /) -> Entry:
    """Return the quantizer entry of a variant, which keeps no snapshots here."""
    return with_grids(variant_words(study.schemes[variant.scheme]), variant.precision)


def sets_of(study: Study, model: str, /) -> list[TriedSet]:
    """List the datasets that are forwarded with one layer of a model quantized: clean ones, then those out of them."""
    asked = study.config.sensitivity
    if asked is None:
        return []
    against: dict[str, list[str]] = {}
    for reference, others in asked.ood.items():
        for other in others:
            against.setdefault(other, []).append(reference)
    return [_set(study, model, dataset, []) for dataset in asked.datasets] + [
        _set(study, model, other, references) for other, references in against.items()
    ]


def files_of(study: Study, variant: Variant, /) -> list[str]:
    """List what the rows of a variant's layers are made of: the model, and the descriptions of all images."""
    folders = [each["folder"] for each in sets_of(study, variant.model)]
    folders.append(study.proxy(variant.proxy, variant.model)["folder"])
    return list(dict.fromkeys([paths.model(variant.model), *map(paths.meta, folders)]))


def images_of(study: Study, variant: Variant, /) -> list[str]:
    """List the arrays of images that are forwarded, beside the pairs of the proxy."""
    return list(dict.fromkeys(paths.images(each["folder"]) for each in sets_of(study, variant.model)))


def facts_of(study: Study, variant: Variant, /) -> dict[str, Any]:
    """Return what the rows of a variant's layers must say of themselves, and with it what their job is told."""
    asked = study.config.sensitivity
    by, labels = asked and asked.by, study.row_labels(variant)
    return {"labels": labels, "suites": ["explain"], "by": by, "sets": sets_of(study, variant.model)}


def sensitivity_problems(study: Study, /) -> Iterator[str]:
    """Say which datasets, schemes and words of the grid `sensitivity` names that are not there or cannot be tried."""
    config, asked = study.config, study.config.sensitivity
    if asked is None:
        return
    clean = config.suites.clean
    for dataset in asked.datasets:
        if dataset not in clean:
            yield f"sensitivity: datasets: {dataset!r} must be in the clean suite; there are {', '.join(clean)}"
    for reference, others in asked.ood.items():
        if reference not in asked.datasets:
            yield f"sensitivity: ood: {plugins.unknown('dataset of sensitivity', reference, asked.datasets)}"
            continue
        groups = config.suites.ood.get(reference, {})
        known = [dataset for datasets in groups.values() for dataset in datasets]
        for other in others:
            if other not in known:
                told = f"{other!r} must be in the ood suite of {reference}"
                yield f"sensitivity: ood: {reference}: {told}; there are {', '.join(known) or 'none'}"
    yield from part_problems(config, "sensitivity", asked)
    for name, entry in config.schemes.items():
        problem = alone_problem(entry) if asked.schemes is None or name in asked.schemes else ""
        if problem:
            yield f"sensitivity: scheme {name}: {problem}, or name `schemes` without {name}"
    words = (("datasets", asked.datasets), *((f"ood: {reference}", others) for reference, others in asked.ood.items()))
    for where, names in words:
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"sensitivity: {where}: {name!r} is there twice"


def _set(study: Study, model: str, dataset: str, against: list[str]) -> TriedSet:
    entry = study.dataset_entry(dataset)
    return {"dataset": dataset, "folder": study.prepared(dataset, model), "entry": entry, "against": against}
