"""List the files that a study must have, and check each (`file_checks.py`); free of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reliquant.cli import file_checks
from reliquant.cli.file_checks import Check
from reliquant.progress import message_of, progress
from reliquant.study import deployment, paths, retrieval
from reliquant.study.made_of import rows_made_of
from reliquant.study.sensitivity import facts_of, tried
from reliquant.study.study import Study
from reliquant.study.variants import Variant


class Checked(NamedTuple):
    """Say of a file whether it is `as written`, `broken` or `missing`, and what is wrong, if anything is."""

    path: str
    state: str
    problem: str


def verify_study(study: Study, /) -> list[Checked]:
    """Read every file of a study that its rules make, and compare each with its digest and with what it must be of."""
    checks = dict(_checks(study))
    return [_checked(path, check) for path, check in progress(list(checks.items()), label="verify")]


def _checked(path: str, check: Check) -> Checked:
    """Check one file; whatever is raised over its bytes is a line about it, and others are checked none the less."""
    try:
        if not Path(path).exists():
            return Checked(path, "missing", "not made yet, or deleted")
        if not Path(path).is_file():
            return Checked(path, "broken", "no regular file; delete it, and make it again")
        check()
    except BaseException as error:  # damaged bytes make libraries raise anything
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # polars' own
            raise
        return Checked(path, "broken", message_of(error).replace(f"{path}: ", "", 1))
    return Checked(path, "as written", "")


def _checks(study: Study) -> Iterator[tuple[str, Check]]:
    """Yield each file of a study and how it is checked."""
    roots = [study.root(dataset) for dataset in study.config.datasets if study.is_fetched(dataset)]
    for folder in [*roots, *(str(Path(record).parent) for record in study.fetched_lexicon())]:
        yield paths.fetched(folder), _bound(file_checks.download, Path(folder))
    for model in study.config.models:
        yield paths.model(model), _bound(file_checks.model, Path(paths.model(model)))
    yield from _of_images(study)
    for path, variant in study.variants.items():
        yield from _of_variant(study, path, variant)
    made_of = rows_made_of(study)
    for path in study.explained:
        rows = Path(paths.explain_rows(study.name, path))
        wanted = {"labels": study.row_labels(study.variants[path]), "suites": ["explain"]}
        yield str(rows), _bound(file_checks.rows, rows, wanted, made_of[str(rows)])
    for path in tried(study):
        rows = Path(paths.sensitivity_rows(study.name, path))
        yield str(rows), _bound(file_checks.rows, rows, facts_of(study, study.variants[path]), made_of[str(rows)])
    yield from _of_searches(study, made_of)
    yield from _of_deployment(study)
    yield paths.rows(study.name), _bound(file_checks.study_rows, study)
    yield paths.facts(study.name), _bound(file_checks.facts, study)
    report = Path(paths.report(study.name))
    drawn_from = {"rows": Path(paths.rows(study.name)), "facts": Path(paths.facts(study.name))}
    if study.config.deploy:
        drawn_from["deployed"] = Path(paths.deployed(study.name))
    yield paths.digests(report), _bound(file_checks.listed, report, drawn_from)
    yield from file_checks.pieces(report)


def _of_searches(study: Study, made_of: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Check]]:
    """Yield the embeddings of captioned sets, and the rows of searches in them."""
    for path in retrieval.searched(study):
        variant = study.variants[path]
        file, own = Path(paths.embeddings(study.name, path)), Path(paths.variant(study.name, path))
        folders = {each["dataset"]: each["folder"] for each in retrieval.sets_of(study, variant.model)}
        yield str(file), _bound(file_checks.embeddings, file, own, study.row_labels(variant), folders)
        rows = Path(paths.retrieval_rows(study.name, path))
        yield str(rows), _bound(file_checks.rows, rows, retrieval.facts_of(study, variant), made_of[str(rows)])


def _of_deployment(study: Study) -> Iterator[tuple[str, Check]]:
    """Yield the exported folders, the records and rows of what runtimes ran, and the file of all these rows."""
    for path in deployment.exported(study):
        file, folder = Path(paths.variant(study.name, path)), paths.exported(study.name, path)
        yield paths.exported_facts(folder), _bound(file_checks.exported, Path(folder), file)
        doubled, labels = Path(paths.doubled(study.name, path)), study.row_labels(study.variants[path])
        yield str(doubled), _bound(file_checks.doubled, doubled, file, labels)
    made_of = deployment.rows_made_of(study)
    for run in deployment.runs(study):
        path, runtime, shard = run
        variant, file = study.variants[path], Path(paths.variant(study.name, path))
        samples, rows = (Path(of(study.name, *run)) for of in (paths.run_samples, paths.run_rows))
        data = Path(paths.inventory(study.name, variant.model, shard))
        yield str(samples), _bound(file_checks.run_samples, samples, file, study.row_labels(variant), data, runtime)
        yield str(rows), _bound(file_checks.rows, rows, deployment.facts_of(study, run), made_of[str(rows)])
    for model in deployment.timed(study):
        times = paths.times(study.name, model)
        yield times, _bound(file_checks.times, Path(times), deployment.folders_of(study, model))
    if study.config.deploy:
        yield paths.deployed(study.name), _bound(file_checks.deployed_rows, study)


def _of_images(study: Study) -> Iterator[tuple[str, Check]]:
    """Yield the files of the prepared folders of a study, and its corrupted images."""
    for folder in dict.fromkeys(_folders(study)):
        dataset, _ = paths.dataset_and_form(folder)
        yield paths.meta(folder), _bound(file_checks.described, Path(folder), study.dataset_entry(dataset))
        for array in (paths.images(folder), paths.labels(folder), paths.photographs(folder)):
            yield array, _bound(file_checks.array, Path(array))
    for model, shard in _shards(study):
        for cell in study.cells(model, shard):
            if cell["corruption"]:
                path = paths.corrupted(cell["folder"], cell["corruption"])
                made_of = {"corruption": cell["corruption"], "severities": cell["severities"]}
                yield path, _bound(file_checks.corrupted, Path(path), made_of, Path(cell["folder"]))
        inventory = paths.inventory(study.name, model, shard)
        yield inventory, _bound(file_checks.inventory, Path(inventory), study.inputs(model, shard))


def _folders(study: Study) -> Iterator[str]:
    """Yield each prepared folder that a study reads: of what is evaluated, and of image-caption pairs."""
    for model, shard in _shards(study):
        for cell in study.cells(model, shard):
            yield from filter(None, (cell["folder"], cell["head"], cell["fit"]))
    for variant in study.variants.values():
        own = [] if variant.proxy == "none" else [study.proxy(variant.proxy, variant.model)]
        for proxy in [*own, *study.tuned_on(variant).values()]:
            yield proxy["folder"]
    for model in filter(study.trains, study.config.models):
        yield study.prepared(study.pretrain_words(model)[0], model)
    for model in study.config.models:
        yield from (each["folder"] for each in retrieval.sets_of(study, model))
    if study.explained:
        for model in study.config.models:
            for explained in study.explain_record_cells(model):
                yield explained["folder"]


def _shards(study: Study) -> list[tuple[str, str]]:
    """List the models with the shards on which their variants are evaluated."""
    return list(dict.fromkeys((study.variants[path].model, shard) for path, shard in study.evaluations))


def _of_variant(study: Study, path: str, variant: Variant) -> Iterator[tuple[str, Check]]:
    """Yield the files of a variant: codes, snapshots, records and rows."""
    file, labels = Path(paths.variant(study.name, path)), study.row_labels(variant)
    pairs = None if variant.proxy == "none" else Path(study.proxy(variant.proxy, variant.model)["folder"])
    yield str(file), _bound(file_checks.variant, file, labels, pairs)
    if iterations := study.snapshots(variant):
        archive = Path(paths.snapshots(file))
        yield str(archive), _bound(file_checks.snapshots, archive, labels, pairs, iterations)
    for shard in [shard for own, shard in study.evaluations if own == path]:
        samples, rows = (Path(of(study.name, path, shard)) for of in (paths.samples, paths.shard_rows))
        data, wanted = paths.inventory(study.name, variant.model, shard), {"labels": labels}
        yield str(samples), _bound(file_checks.samples, samples, file, labels, Path(data))
        wanted["suites"], needed = study.suites_in(shard), [str(file), str(samples)]
        yield str(rows), _bound(file_checks.rows, rows, wanted, needed)


def _bound(check: Callable[..., object], *words: Any) -> Check:
    return lambda: check(*words)
