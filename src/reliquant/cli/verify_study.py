"""Check each file of a study against its digest, and against what it must be of; free of torch."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from reliquant.download.http import sha256_of
from reliquant.evaluation.belonging import require_labels, require_records_of
from reliquant.files.artifacts import load_tensors, read_facts, read_sealed_json
from reliquant.files.digests import DamagedFile, Seal, digest_of_file
from reliquant.files.stored_frames import require_unchanged
from reliquant.images.meta import read_meta
from reliquant.images.prepare import load
from reliquant.progress import progress
from reliquant.report.collect import of_shards, require_made_of
from reliquant.study import paths
from reliquant.study.placed import require_as_made
from reliquant.study.study import Study
from reliquant.study.variants import Variant

Check = Callable[[], object]


class Checked(NamedTuple):
    """Say of a file whether it is `as written`, `broken` or `missing`, and what is wrong, if anything is."""

    path: str
    state: str
    problem: str


def verify_study(study: Study, /) -> list[Checked]:
    """Read every file of a study that its rules make, and compare each with its digest and with what it must be of."""
    checks = dict(_checks(study))
    found = []
    for path, check in progress(list(checks.items()), label="verify"):
        if not Path(path).exists():
            found.append(Checked(path, "missing", "not made yet, or deleted"))
            continue
        try:
            check()
            found.append(Checked(path, "as written", ""))
        except (ValueError, OSError) as error:
            told = str(error).replace(f"{path}: ", "", 1)
            found.append(Checked(path, "broken", told))
    return found


def _checks(study: Study) -> Iterator[tuple[str, Check]]:
    """Yield each file of a study and how it is checked."""
    for dataset in study.config.datasets:
        if study.is_fetched(dataset):
            yield paths.fetched(study.root(dataset)), _bound(_downloads, Path(study.root(dataset)))
    for model in study.config.models:
        yield paths.model(model), _bound(_model, Path(paths.model(model)))
    yield from _of_images(study)
    for path, variant in study.variants.items():
        yield from _of_variant(study, path, variant)
    for path in study.explained:
        rows = Path(paths.explain_rows(study.name, path))
        wanted = {"labels": study.row_labels(study.variants[path]), "suites": ["explain"]}
        yield str(rows), _bound(_rows, rows, wanted)
    yield paths.rows(study.name), _bound(_study_rows, study)
    yield paths.facts(study.name), _bound(read_sealed_json, Path(paths.facts(study.name)))
    report = Path(paths.report(study.name))
    yield paths.digests(report), _bound(_report, report)


def _of_images(study: Study) -> Iterator[tuple[str, Check]]:
    """Yield the prepared folders of a study and their corrupted images."""
    for model in study.config.models:
        for shard in dict.fromkeys(shard for own, shard in study.evaluations if study.variants[own].model == model):
            for cell in study.cells(model, shard):
                for folder in filter(None, (cell["folder"], cell["head"], cell["fit"])):
                    yield paths.meta(folder), _bound(_prepared, Path(folder))
                if cell["corruption"]:
                    path = paths.corrupted(cell["folder"], cell["corruption"])
                    made_of = {"corruption": cell["corruption"], "severities": cell["severities"]}
                    yield path, _bound(_corrupted, Path(path), made_of, Path(cell["folder"]))
            inventory = paths.inventory(study.name, model, shard)
            yield inventory, _bound(read_sealed_json, Path(inventory))
        for dataset in study.config.datasets:  # of image-caption pairs
            folder = study.prepared(dataset, model)
            if Path(paths.meta(folder)).is_file():
                yield paths.meta(folder), _bound(_prepared, Path(folder))


def _of_variant(study: Study, path: str, variant: Variant) -> Iterator[tuple[str, Check]]:
    """Yield the files of a variant: codes, snapshots, records and rows."""
    file, labels = Path(paths.variant(study.name, path)), study.row_labels(variant)
    yield str(file), _bound(_variant, file, labels)
    if study.snapshots(variant):
        yield paths.snapshots(file), _bound(_snapshots, Path(paths.snapshots(file)), labels)
    for shard in [shard for own, shard in study.evaluations if own == path]:
        samples, rows = (Path(of(study.name, path, shard)) for of in (paths.samples, paths.shard_rows))
        yield str(samples), _bound(_samples, samples, file, labels)
        yield str(rows), _bound(_rows, rows, {"labels": labels, "suites": study.suites_in(shard)})


def _bound(check: Callable[..., object], *words: Any) -> Check:
    return lambda: check(*words)


def _downloads(folder: Path) -> None:
    """Check the record of a download, and those of its files that were not unpacked."""
    for fetched in read_sealed_json(Path(paths.fetched(str(folder))))["files"]:
        file = folder / str(fetched["url"]).rpartition("/")[2]
        if not fetched["unpack"] and file.is_file() and sha256_of(file) != fetched["sha256"]:
            raise DamagedFile(f"{file} changed since it was fetched")


def _model(path: Path) -> None:
    load_tensors(path)
    require_as_made(path)


def _prepared(folder: Path) -> None:
    load(folder).images.seal.require()


def _corrupted(path: Path, made_of: dict[str, Any], folder: Path) -> None:
    seal = Seal(path)
    seal.require()
    if seal.about != made_of | {"images": read_meta(folder)["arrays"][paths.IMAGES]}:
        raise DamagedFile(f"{path}: holds another corruption, other severities or other images")


def _variant(path: Path, labels: dict[str, Any]) -> None:
    _, header = load_tensors(path)
    require_labels(header, labels, path)


def _snapshots(path: Path, labels: dict[str, Any]) -> None:
    """Check each state that a variant had on its way through training."""
    with tarfile.open(path) as tar, TemporaryDirectory() as folder:
        tar.extractall(folder, filter="data")
        for file in sorted(Path(folder).iterdir()):
            _variant(file, labels)


def _samples(path: Path, variant: Path, labels: dict[str, Any]) -> None:
    require_unchanged(path)
    require_records_of(labels, variant, [path], [])


def _rows(path: Path, wanted: dict[str, Any]) -> None:
    require_unchanged(path)
    require_made_of(wanted, path)


def _study_rows(study: Study) -> None:
    """Check the rows of the whole study, and that they are those of the shards that lie there."""
    path = Path(paths.rows(study.name))
    require_unchanged(path)
    shards = [paths.shard_rows(study.name, *evaluation) for evaluation in study.evaluations]
    shards += [paths.explain_rows(study.name, variant) for variant in study.explained]
    if read_facts(path).get("shards") != of_shards([Path(shard) for shard in shards]):
        raise DamagedFile(f"{path}: was collected from other rows than those that lie there: collect again")


def _report(folder: Path) -> None:
    """Check each file of a report against the list that was written with it."""
    for name, digest in read_sealed_json(Path(paths.digests(folder))).items():
        if not (folder / name).is_file():
            raise DamagedFile(f"{folder / name} is gone; draw the report again")
        if digest_of_file(folder / name) != digest:
            raise DamagedFile(f"{folder / name} changed since it was written; draw the report again")
