"""What files of a study must be made of: entries of datasets, variants, records and inventories."""

from __future__ import annotations

from reliquant.study import paths, retrieval
from reliquant.study.config import Entry
from reliquant.study.sensitivity import files_of, tried
from reliquant.study.study import Study
from reliquant.study.variants import Variant


def entries_of(study: Study, model: str, shard: str, /) -> dict[str, Entry]:
    """Return the entries of the datasets whose prepared images one evaluation job reads, by their `meta.json`."""
    known = {paths.meta(study.prepared(dataset, model)): dataset for dataset in study.config.datasets}
    return {file: study.dataset_entry(known[file]) for file in study.inputs(model, shard) if file in known}


def shards_needed(study: Study, variant: Variant, shard: str, /) -> list[str]:
    """Name the shards whose records a shard's measures need: its own first, then those of its OOD sets' references.

    The records of snapshots are all in one shard. Their FP32 baseline has no snapshots: its records are in the shards
    of the suites.
    """
    if shard != study.SNAPSHOTS:
        return study.records(shard)
    if study.snapshots(variant):
        return [shard]
    return list(dict.fromkeys(study.shard_of(suite) for suite in study.suites_in(shard)))


def inventories_of(study: Study, variant: Variant, shard: str, /) -> list[str]:
    """List the inventories of what the records that a shard's measures need, FP32's too, were computed on."""
    needed = [*shards_needed(study, variant, shard), *shards_needed(study, variant.baseline, shard)]
    return [paths.inventory(study.name, variant.model, other) for other in dict.fromkeys(needed)]


def rows_made_of(study: Study, /) -> dict[str, list[str]]:
    """Return the files of rows of a study, and of each some files that it must be made of.

    Rows are those of evaluations, explanations, layers that are quantized alone, and searches.
    """
    found = {}
    for path, shard in study.evaluations:
        variant, samples = paths.variant(study.name, path), paths.samples(study.name, path, shard)
        found[paths.shard_rows(study.name, path, shard)] = [variant, samples]
    for path in study.explained:
        found[paths.explain_rows(study.name, path)] = [paths.variant(study.name, path)]
    for path in tried(study):
        found[paths.sensitivity_rows(study.name, path)] = files_of(study, study.variants[path])
    for path in retrieval.searched(study):
        found[paths.retrieval_rows(study.name, path)] = retrieval.embeddings_of(study, study.variants[path])
    return found
