"""Whether records are of the variant, the model and the shard that they are taken for; free of torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from reliquant.files.artifacts import read_facts, read_header
from reliquant.files.digests import AGAIN, DamagedFile
from reliquant.files.stored_frames import damage_named, require_file

OF_VARIANT = ("model", "scheme", "precision", "scope", "proxy", "seed")  # columns of rows that name a variant


def require_records_of(
    labels: Mapping[str, Any], variant: Path, samples: Sequence[Path], baseline: Sequence[Path], /
) -> None:
    """Raise DamagedFile naming a file of records that is of another variant, or a baseline that is not FP32's.

    `labels` are the row columns of the variant, which the file `variant` holds.
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
    fp32 = {"model": labels["model"], "scheme": "fp32"}
    for path in baseline:
        facts, _ = _facts(path)
        require_labels(facts, fp32, path)
        if facts.get("model_sha256") != header["model_sha256"]:
            raise DamagedFile(f"{path}: holds records of another FP32 model than the one of {variant}; {AGAIN}")


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
    other = [f"{name} {own.get(name)!r}" for name in OF_VARIANT if name in labels and own.get(name) != labels[name]]
    if other:
        wanted = ", ".join(f"{name} {labels[name]!r}" for name in OF_VARIANT if name in labels)
        raise DamagedFile(f"{path}: is of {', '.join(other)}, not of {wanted}; {AGAIN}")
