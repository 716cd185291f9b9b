"""Whether records are of the variant, the model and the shard that they are taken for; free of torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from reliquant.files.artifacts import read_facts, read_header, read_sealed_json
from reliquant.files.digests import AGAIN, DamagedFile, digest_in_parquet, digest_of
from reliquant.files.stored_frames import damage_named, require_file
from reliquant.images.inventory import read_inventory

LABELS = ("study", "model", "scheme", "precision", "scope", "proxy", "seed")  # columns of rows that name a variant


def require_records_of(
    labels: Mapping[str, Any],
    variant: Path,
    samples: Sequence[Path],
    baseline: Sequence[Path],
    /,
    *,
    data: Sequence[Path] | None = None,
) -> None:
    """Raise DamagedFile naming a file of records that is of another variant or data, or a baseline that is not FP32's.

    `labels` are the row columns of the variant, which the file `variant` holds; `data` are the inventories of what the
    shards are evaluated on, None where nobody knows: then the first of `baseline` must be of the data of the first of
    `samples`.
    """
    header = read_header(variant)
    require_labels(header, labels, variant)
    for path in samples:
        facts, snapshots = _facts(path)
        if snapshots and len(samples) > 1:
            raise DamagedFile(f"{path}: holds records of snapshots, which stand alone, not beside others; {AGAIN}")
        if facts.get("variant") != header["sha256"] and not snapshots:
            raise DamagedFile(f"{path}: holds records of another variant than {variant}; {AGAIN}")
        if facts.get("model_sha256") != header["model_sha256"]:  # what is FP32 has no codes to be told by
            raise DamagedFile(f"{path}: holds records of another model than {variant} was made of; {AGAIN}")
        require_labels(facts, labels, path)
    fp32 = {name: labels[name] for name in ("study", "model") if name in labels} | {"scheme": "fp32"}
    for path in baseline:
        facts, _ = _facts(path)
        require_labels(facts, fp32, path)
        if facts.get("model_sha256") != header["model_sha256"]:
            raise DamagedFile(f"{path}: holds records of another FP32 model than the one of {variant}; {AGAIN}")
    _require_data(samples, baseline, data)


def _require_data(samples: Sequence[Path], baseline: Sequence[Path], inventories: Sequence[Path] | None) -> None:
    """Raise DamagedFile naming a file of records that were computed on other images than those that are known."""
    found = {path: _facts(path)[0].get("data") for path in (*samples, *baseline)}
    if inventories is not None:
        known = {digest_of(read_inventory(inventory)) for inventory in inventories}
        for path, data in found.items():
            if data not in known:
                told = f"{path}: holds records of other images than {', '.join(map(str, inventories))} tells of"
                raise DamagedFile(f"{told}: of another study, or of another state of its data; {AGAIN}")
    elif baseline and samples and found[baseline[0]] != found[samples[0]] and len(samples) == len(baseline):
        raise DamagedFile(f"{baseline[0]}: holds records of other images than {samples[0]}; {AGAIN}")


def made_of(variant: Path, records: Sequence[Path], /) -> dict[str, str]:
    """Return the digests of the files that rows are made of, by path, for their provenance (`require_current`)."""
    return identities([variant, *records])


def identities(files: Sequence[Path], /) -> dict[str, str]:
    """Return the digest of each file, by path: of a model, a variant, a sealed JSON or a sealed parquet file."""
    return {str(path): _identity(path) for path in files}


def require_current(rows: Path, needed: Collection[Path], digests: dict[str, str] | None = None, /) -> None:
    """Raise DamagedFile naming rows that were made of other files than those that lie there under the same names.

    The files `needed` must be among them; one that is gone cannot be compared. `digests` keeps what is known of files
    from one call to the next.
    """
    facts, known = _facts(rows)[0].get("made_of"), {} if digests is None else digests
    facts = facts if isinstance(facts, dict) else {}
    for name in sorted({*facts, *map(str, needed)}):
        path = Path(name)
        if name not in known and path.is_file():
            known[name] = _identity(path)
        if name in known and known[name] != facts.get(name):
            raise DamagedFile(f"{rows}: was made of another {name} than lies there; {AGAIN}")


def _identity(path: Path) -> str:
    if path.suffix in (".safetensors", ".json"):
        return digest_of(read_header(path) if path.suffix == ".safetensors" else read_sealed_json(path))
    found = digest_in_parquet(path)
    if found is None:
        raise DamagedFile(f"{path}: has no digest: of an earlier version, or of another program; {AGAIN}")
    return found


def require_shard(places: pl.DataFrame, words: Collection[str], path: Path, /) -> None:
    """Raise DamagedFile unless records are of the suites of a shard: `words` are suites, or suite/dataset.

    `places` has the columns suite and dataset of the file's records.
    """
    found = places.select("suite", "dataset").unique().rows()
    strange = [f"{suite}/{dataset}" for suite, dataset in found if not {suite, f"{suite}/{dataset}"} & set(words)]
    there = {suite for suite, _ in found} | {f"{suite}/{dataset}" for suite, dataset in found}
    missing = [word for word in words if word not in there]
    if strange or missing:
        told = [f"holds records of {', '.join(sorted(strange))}"] if strange else []
        told += [f"has none of {', '.join(sorted(missing))}"] if missing else []
        raise DamagedFile(f"{path}: {' and '.join(told)}: it is of another shard; {AGAIN}")


def _facts(path: Path) -> tuple[dict[str, Any], bool]:
    """Return the provenance of records, and whether they are of snapshots; raise DamagedFile where there are none."""
    require_file(path, "records")
    with damage_named(path):
        return read_facts(path), "iteration" in pl.read_parquet_schema(path)


def require_labels(facts: Mapping[str, Any], labels: Mapping[str, Any], path: Path, /) -> None:
    """Raise DamagedFile, naming the file, unless its facts name the variant that these labels name."""
    own = facts.get("labels")
    own = own if isinstance(own, dict) else {}
    other = [f"{name} {own.get(name)!r}" for name in LABELS if name in labels and own.get(name) != labels[name]]
    if other:
        wanted = ", ".join(f"{name} {labels[name]!r}" for name in LABELS if name in labels)
        raise DamagedFile(f"{path}: is of {', '.join(other)}, not of {wanted}; {AGAIN}")
