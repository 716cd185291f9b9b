"""How each kind of a study's files is checked: against its digest, and against what it must be of; free of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from reliquant.deploy.folder import read_export, variant_of
from reliquant.deploy.timed import require_times_of
from reliquant.download.contents import require_contents
from reliquant.download.http import file_name, sha256_of
from reliquant.evaluation.belonging import identities, require_current, require_labels, require_records_of
from reliquant.evaluation.ran import require_run_of
from reliquant.evaluation.snapshots import unpacked
from reliquant.evaluation.stored_embeddings import load_embeddings, require_embeddings_of
from reliquant.files.artifacts import load_tensors, read_facts, read_header, read_sealed_json, require_words
from reliquant.files.digests import AGAIN, DamagedFile, Seal, digest_of_file
from reliquant.files.stored_frames import errors_named, require_unchanged
from reliquant.images.inventory import read_inventory, require_as_listed
from reliquant.images.meta import read_meta
from reliquant.images.meta import require_made_of as require_made_of_entry
from reliquant.report.collect import of_shards, require_made_of
from reliquant.report.facts import require_facts
from reliquant.study import deployment, paths
from reliquant.study.built_from import require_same_files
from reliquant.study.config import Config
from reliquant.study.made_of import rows_made_of
from reliquant.study.placed import require_as_made
from reliquant.study.stored import config_in
from reliquant.study.study import Study

Check = Callable[[], object]


def download(folder: Path, /) -> None:
    """Check the record of a download, and its files."""
    record = read_sealed_json(Path(paths.fetched(str(folder))))
    require_words(record, {"files": list}, f"{paths.fetched(str(folder))}:")
    for fetched in record["files"]:
        file = folder / file_name(fetched["url"])
        if not fetched["unpack"] and not (file.is_file() and sha256_of(file) == fetched["sha256"]):
            raise DamagedFile(
                f"{file} is gone, or changed since it was fetched; delete {paths.FETCHED} to fetch it anew"
            )
    require_contents(Path(paths.fetched(str(folder))))


def model(path: Path, /) -> None:
    """Check a model in FP32, and that the files that describe it are those that it was built from."""
    _, header = load_tensors(path)
    require_as_made(path)
    require_same_files(path, header)


def described(folder: Path, entry: Mapping[str, Any], /) -> None:
    """Check what is known of prepared images, and that they are of this entry of a dataset."""
    require_made_of_entry(entry, read_meta(folder), folder)


def inventory(path: Path, files: Sequence[str], /) -> None:
    """Check that an inventory lists what the evaluations of a shard read, and that these files lie there."""
    require_as_listed(path, list(files))
    if strange := sorted({*read_inventory(path)} - {*files}):
        raise DamagedFile(f"{path}: lists {', '.join(strange[:3])}, which its shard does not read; {AGAIN}")


def array(path: Path, /) -> None:
    """Check an array of a prepared folder, and that it is the one of which its `meta.json` tells."""
    seal = Seal(path)
    seal.require()
    wanted = seal.identity
    with suppress(OSError, ValueError):  # a broken meta.json has a line of its own
        wanted = read_meta(path.parent)["arrays"].get(path.name, "")
    if seal.identity != wanted:
        raise DamagedFile(f"{path}: {path.name} and {paths.META} do not belong together; prepare it again")


def corrupted(path: Path, made_of: Mapping[str, Any], folder: Path, /) -> None:
    """Check corrupted images, and that they are of the images that lie in the prepared folder."""
    seal = Seal(path)
    seal.require()
    if seal.about != {**made_of, "images": read_meta(folder)["arrays"].get(paths.IMAGES)}:
        raise DamagedFile(f"{path}: holds another corruption, other severities or other images; {AGAIN}")


def variant(path: Path, labels: Mapping[str, Any], pairs: Path | None, /) -> None:
    """Check the codes of a variant, and that they are of the FP32 model and the prepared `pairs` that lie there."""
    _, header = load_tensors(path)
    require_labels(header, labels, path)
    file, now = Path(paths.model(labels["model"])), header.get("model_sha256")
    with suppress(OSError, ValueError):  # a broken model has a line of its own
        now = read_header(file).get("sha256")
    if header.get("model_sha256") != now:
        raise DamagedFile(f"{path}: was made of another model than {file} holds; {AGAIN}")
    own = header.get("pairs")
    told = known = own.get("sha256") if isinstance(own, dict) else None
    if pairs is not None:
        with suppress(OSError, ValueError):  # so has a broken meta.json
            known = read_meta(pairs)["sha256"]
    if told != known:
        raise DamagedFile(f"{path}: was made with other pairs than {pairs} holds; {AGAIN}")


def snapshots(path: Path, labels: Mapping[str, Any], pairs: Path | None, iterations: Sequence[int], /) -> None:
    """Check each state that a variant had on its way through training, and that none is missing."""
    with unpacked(path) as files:
        if [int(file.stem) for file in files] != list(iterations):
            told = ", ".join(file.stem for file in files)
            raise DamagedFile(f"{path}: holds the iterations {told}, not {', '.join(map(str, iterations))}; {AGAIN}")
        for file in files:
            with errors_named(path):
                variant(file, labels, pairs)


def samples(path: Path, variant_file: Path, labels: Mapping[str, Any], data: Path, /) -> None:
    """Check the records of a variant, and that they are of the data that an inventory lists."""
    require_unchanged(path)
    require_records_of(labels, variant_file, [path], [], data=[data])


def rows(path: Path, wanted: Mapping[str, Any], needed: Sequence[str], /) -> None:
    """Check what was measured of a variant, and that it is of the records and the variant that lie there."""
    require_unchanged(path)
    require_made_of(wanted, path)
    require_current(path, [Path(name) for name in needed])


def embeddings(path: Path, variant_file: Path, labels: Mapping[str, Any], folders: Mapping[str, str], /) -> None:
    """Check the embeddings of a variant on captioned sets, and that they are of the variant and images that lie there.

    `folders` are those of the prepared images, by the names of the sets.
    """
    _, header = load_embeddings(path)
    require_embeddings_of(labels, path, None, list(folders))
    now = header["variant"]
    with suppress(OSError, ValueError):  # a broken variant has a line of its own
        now = read_header(variant_file).get("sha256")
    if header["variant"] != now:
        raise DamagedFile(f"{path}: is of another variant than {variant_file} holds; {AGAIN}")
    for file in map(Path, map(paths.meta, folders.values())):
        known = header["data"].get(str(file))
        with suppress(OSError, ValueError):  # so has a broken meta.json
            known = identities([file])[str(file)]
        if header["data"].get(str(file)) != known or known is None:
            raise DamagedFile(f"{path}: is of other images or captions than {file} tells of; {AGAIN}")


def exported(folder: Path, variant_file: Path, /) -> None:
    """Check an exported folder, each file in it, and that it is of the variant that lies there."""
    facts = read_export(folder)
    now = facts["variant_sha256"]
    with suppress(OSError, ValueError):  # a broken variant has a line of its own
        now = variant_of(read_header(variant_file))
    if facts["variant_sha256"] != now:
        raise DamagedFile(f"{folder}: was exported from another variant than {variant_file} holds; {AGAIN}")


def doubled(path: Path, variant_file: Path, labels: Mapping[str, Any], /) -> None:
    """Check the records of a variant in float64, and that they are of the variant and the images that lie there."""
    require_unchanged(path)
    require_records_of(labels, variant_file, [path], [])
    require_current(path, [variant_file])


def run_samples(path: Path, variant_file: Path, labels: Mapping[str, Any], data: Path, runtime: str, /) -> None:
    """Check the records of an exported variant, and that they are of the runtime and the data that they should be."""
    samples(path, variant_file, labels, data)
    require_run_of([path], runtime)


def times(path: Path, folders: Sequence[str], /) -> None:
    """Check how long exported variants take, and that they are those that lie there."""
    require_unchanged(path)
    require_times_of(path, [Path(folder) for folder in folders])


def deployed_rows(study: Study, /) -> None:
    """Check the rows of all exported variants, and that they are those that lie there."""
    path = Path(paths.deployed(study.name))
    require_unchanged(path)
    parts = [*deployment.rows_made_of(study), *(paths.times(study.name, model) for model in deployment.timed(study))]
    if read_facts(path).get("shards") != of_shards(map(Path, parts)):
        raise DamagedFile(f"{path}: was collected from other rows than those that lie there: collect again")


def study_rows(study: Study, /) -> None:
    """Check the rows of the whole study, and that they are those of the shards that lie there."""
    path = Path(paths.rows(study.name))
    require_unchanged(path)
    if read_facts(path).get("shards") != of_shards([Path(shard) for shard in rows_made_of(study)]):
        raise DamagedFile(f"{path}: was collected from other rows than those that lie there: collect again")


def facts(study: Study, /) -> None:
    """Check what stands behind a study's rows: its config, and the models and images that lie there."""
    path = Path(paths.facts(study.name))
    found = read_sealed_json(path)
    require_facts(found, str(path))
    own = Config.model_validate(config_in(found, str(path)))
    if found["study"] != study.name or own != study.config:
        raise DamagedFile(f"{path}: tells of another study, or of another config than this one; {AGAIN}")
    for name in study.config.models:
        told = now = found["models"].get(name, {}).get("sha256", "")
        with suppress(OSError, ValueError):  # a broken model has a line of its own
            now = read_header(Path(paths.model(name))).get("sha256")
        if told != now:
            raise DamagedFile(f"{path}: tells of another model {name} than the one that lies there; {AGAIN}")


def listed(report: Path, made_of: Mapping[str, Path], /) -> None:
    """Check the list of the files of a report, and that it was drawn from the rows and facts that lie there."""
    path = Path(paths.digests(report))
    found = read_sealed_json(path)
    require_words(found, {"files": dict, "made_of": dict}, f"{path}:")
    own = (paths.page(report), paths.summary(report), paths.claims(report))
    if lacking := [file for file in own if Path(file).name not in found["files"]]:
        raise DamagedFile(f"{path}: does not list {', '.join(lacking)}; draw the report again")
    for what, file in made_of.items():
        if file.is_file() and found["made_of"].get(what) != digest_of_file(file):
            raise DamagedFile(f"{path}: the report was drawn from other {what} than {file}; draw the report again")


def pieces(report: Path, /) -> Iterator[tuple[str, Check]]:
    """Yield each file that a report lists, and how it is checked; none where the list cannot be read."""
    with suppress(OSError, ValueError):
        found = read_sealed_json(Path(paths.digests(report))).get("files")
        for name, digest in found.items() if isinstance(found, dict) else ():
            file = Path(name)
            if not (file.is_absolute() or ".." in file.parts):
                yield str(report / file), lambda file=report / file, digest=digest: _piece(file, digest)


def _piece(file: Path, digest: str) -> None:
    if digest_of_file(file) != digest:
        raise DamagedFile(f"{file}: changed since it was written; draw the report again")
