"""What runs in place of the simulation, as part of a study: exported variants, runtimes, and what they are run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from itertools import product
from typing import Any

from reliquant import plugins
from reliquant.study import paths
from reliquant.study.cells import PlacedCell
from reliquant.study.config import Entry
from reliquant.study.sayable import unsayable
from reliquant.study.study import Study
from reliquant.study.variants import Variant, is_named, part_problems

WHERE = "deploy"
NEED_CLEAN = ("ood", "shift", "noise")  # suites whose measures compare their images with clean ones
PACKAGES = ("onnx", "onnx_ir", "onnxscript", "ml_dtypes")  # of the extra `deploy`, beside the runtimes
YARDSTICK = 2000  # images, at most, of the first clean set that the simulation also runs in float64
Run = tuple[str, str, str]  # a variant's path, a runtime, a shard


def exported(study: Study, /) -> list[str]:
    """Return the paths of the variants that are exported: FP32 of the models and the part of the grid, as named."""
    asked = study.config.deploy
    if asked is None:
        return []
    models = study.config.models if asked.models is None else asked.models
    of_models = {path: v for path, v in study.variants.items() if v.model in models}
    return [path for path, v in of_models.items() if v.scheme == "fp32" or is_named(v, asked)]


def runs(study: Study, /) -> list[Run]:
    """Return every evaluation of an exported variant: its path, the runtime and the shard."""
    asked = study.config.deploy
    return list(product(exported(study), asked.runtimes if asked else [], shards_of(study)))


def timed(study: Study, /) -> list[str]:
    """Return the models whose exported variants are timed; none where the config does not ask for it."""
    asked = study.config.deploy
    if asked is None or asked.time is None:
        return []
    return list(dict.fromkeys(study.variants[path].model for path in exported(study)))


def folders_of(study: Study, model: str, /) -> list[str]:
    """Return the exported folders of a model, FP32's first."""
    return [paths.exported(study.name, path) for path in exported(study) if study.variants[path].model == model]


def towers_of(study: Study, /) -> list[str]:
    """Return the towers that are exported."""
    asked = study.config.deploy
    if asked is None:
        return []
    return ["image", "text"] if asked.towers == "both" else [asked.towers]


def suites_of(study: Study, /) -> list[str]:
    """Return the suites that exported files are run on."""
    asked = study.config.deploy
    if asked is None:
        return []
    return [suite for suite in study.suites if asked.suites is None or suite in asked.suites]


def words_in(study: Study, shard: str, /) -> list[str]:
    """List what of a shard exported files are run on: suites, or suite/dataset."""
    asked = suites_of(study)
    return [word for word in study.suites_in(shard) if word.partition("/")[0] in asked]


def shards_of(study: Study, /) -> list[str]:
    """Name the shards that exported files are run on, wholly or in part."""
    return [shard for shard in study.shards if words_in(study, shard)]


def cells_of(study: Study, model: str, shard: str, /) -> list[PlacedCell]:
    """List what one job forwards through an exported file."""
    asked = suites_of(study)
    return [cell for cell in study.cells(model, shard) if cell["suite"] in asked]


def scores_of(study: Study, /) -> dict[str, Entry]:
    """Return the entries of the scores that exported files are judged by: those that need no local features."""
    left_out = left_out_of(study)
    return {name: entry for name, entry in study.config.scores.items() if name not in left_out}


def left_out_of(study: Study, /) -> list[str]:
    """Name the scores that need local features, which no exported file gives."""
    return study.scores_that_need("patches")


def shards_needed(study: Study, shard: str, /) -> list[str]:
    """Name the shards whose records a shard's measures need, itself first."""
    there = shards_of(study)
    return [other for other in study.records(shard) if other in there]


def classified(study: Study, /) -> str:
    """Name the first clean set: its classes are exported, and on it the simulation also runs in float64."""
    return study.config.suites.clean[0]


def classified_in(study: Study, model: str, /) -> str:
    """Return the prepared folder of the first clean set, in the form that fits a model."""
    return study.prepared(classified(study), model)


def in_float64(study: Study, shard: str, /) -> bool:
    """Whether a shard holds the images on which the simulation also runs in float64."""
    cells = cells_of(study, next(iter(study.config.models)), shard)
    return any((cell["suite"], cell["dataset"]) == ("clean", classified(study)) for cell in cells)


def scheme_of(variant: Variant, runtime: str, /) -> str:
    """Name what a runtime makes of a variant's scheme, as rows have it: no scheme of a config can be named so.

    >>> scheme_of(Variant("vit", "rtn", "w8a8", "both", "captions", 0), "openvino")
    'rtn@openvino'
    """
    return f"{variant.scheme}@{runtime}"


def labels_of(study: Study, variant: Variant, runtime: str, /) -> Entry:
    """Return the row columns of an exported variant that a runtime runs."""
    return {**study.row_labels(variant), "scheme": scheme_of(variant, runtime)}


def facts_of(study: Study, run: Run, /) -> dict[str, Any]:
    """Return what the rows of a run must say of themselves."""
    path, runtime, shard = run
    labels = labels_of(study, study.variants[path], runtime)
    return {"labels": labels, "suites": words_in(study, shard), "runtime": runtime}


def simulated_of(study: Study, path: str, shard: str, /) -> list[str]:
    """List the records of a variant's simulation that a shard's measures of its exported file need."""
    return [paths.samples(study.name, path, other) for other in shards_needed(study, shard)]


def run_samples_of(study: Study, run: Run, /) -> list[str]:
    """List the records of an exported variant that a shard's measures need, its own first."""
    path, runtime, shard = run
    return [paths.run_samples(study.name, path, runtime, other) for other in shards_needed(study, shard)]


def doubled_of(study: Study, path: str, shard: str, /) -> list[str]:
    """List the records of a variant in float64 that a shard's measures need: none of most shards."""
    return [paths.doubled(study.name, path)] if in_float64(study, shard) else []


def inventories_of(study: Study, variant: Variant, shard: str, /) -> list[str]:
    """List the inventories of what the records that a shard's measures need were computed on."""
    return [paths.inventory(study.name, variant.model, other) for other in shards_needed(study, shard)]


def files_of(study: Study, path: str, /) -> list[str]:
    """List the files that a variant's export makes; a tower beyond 2 GiB has one more, `<tower>.onnx.data`."""
    folder = paths.exported(study.name, path)
    towers = [paths.exported_tower(folder, tower) for tower in towers_of(study)]
    made = [paths.exported_facts(folder), paths.exported_classes(folder), paths.exported_card(folder)]
    return [*towers, *made, paths.doubled(study.name, path)]


def rows_made_of(study: Study, /) -> dict[str, list[str]]:
    """Return the files of rows of a study's exported variants, and of each some files that it must be made of."""
    found = {}
    for path, runtime, shard in runs(study):
        own = [paths.variant(study.name, path), paths.run_samples(study.name, path, runtime, shard)]
        simulated = paths.samples(study.name, path, shard)
        found[paths.run_rows(study.name, path, runtime, shard)] = [*own, simulated, *doubled_of(study, path, shard)]
    return found


def absent_packages(study: Study, /) -> str:
    """Say which packages are not installed that exporting and running need; empty where nothing lacks."""
    asked = study.config.deploy
    needed = [*PACKAGES, *asked.runtimes] if asked else []
    lacking = ", ".join(name for name in needed if find_spec(name) is None)
    return f"{WHERE}: {lacking} not installed: pip install 'reliquant[deploy]', or leave {WHERE} out" if lacking else ""


def deployment_problems(study: Study, /) -> Iterator[str]:
    """Say which suites and words of the grid `deploy` names that are not there, and what ONNX cannot say of it."""
    asked = study.config.deploy
    if asked is None:
        return
    suites: list[str] = [*(asked.suites or [])]
    named: dict[str, list[str]] = {"runtimes": [*asked.runtimes], "suites": suites, "models": asked.models or []}
    for word, names in named.items():
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{WHERE}: {word}: {name!r} is there twice"
    for suite in suites:
        if suite not in study.suites:
            yield f"{WHERE}: suites: {plugins.unknown('suite of this study', suite, study.suites)}"
        elif suite in NEED_CLEAN and "clean" not in suites:
            yield f"{WHERE}: suites: {suite} is measured beside clean images; add clean"
    for model in asked.models or []:
        if model not in study.config.models:
            yield f"{WHERE}: models: {plugins.unknown('model', model, study.config.models)}"
    yield from part_problems(study.config, WHERE, asked)
    yield from dict.fromkeys(_unsayable(study))


def _unsayable(study: Study) -> Iterator[str]:
    """Say which schemes ONNX cannot say at which precisions, as far as the words of their grids tell."""
    asked = study.config.deploy
    for path in exported(study):
        variant = study.variants[path]
        if variant.scheme == "fp32":
            continue
        told: list[str] = []
        with suppress(ValueError, TypeError):  # of words that are wrong by themselves, which is told with the scheme
            float_weights = bool(asked and asked.float_weights)
            told = list(unsayable(study.schemes[variant.scheme], variant.precision, float_weights=float_weights))
        yield from (f"{WHERE}: scheme {variant.scheme} at {variant.precision}: {problem}" for problem in told)
