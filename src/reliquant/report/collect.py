"""Gather the rows of all shards into one table, streaming, in a fixed order; free of torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from reliquant.files.artifacts import ROW_SCHEMA, read_facts
from reliquant.files.digests import AGAIN, DamagedFile, digest_in_parquet, digest_of
from reliquant.files.stored_frames import (
    KEYS,
    damage_named,
    read_rows,
    require_bounded,
    require_full,
    require_once,
    require_short_texts,
    require_unchanged,
)
from reliquant.forking.workers import workers

OF_ONE = (*KEYS, "study", "source", "family", "low", "high", "n")  # what is checked of each shard before all are read
AT_ONCE = 100  # shards whose keys are in memory together


def collected(
    shards: Iterable[Path], /, *, of: Mapping[Path, Mapping[str, Any]] | None = None, processes: int = 1
) -> pl.LazyFrame:
    """Return the rows of all shards as one lazy frame, in the order of the shards' paths.

    `of` says what the provenance of a shard must hold: its variant's labels and its suites. Each shard is compared with
    its digest, and its keys are read, by so many processes; `sink_parquet` streams the rest. Raises ValueError when
    there is no shard, and FileNotFoundError or DamagedFile naming the shard that is missing, changed, of another schema
    or of another study.
    """
    paths = sorted({Path(shard) for shard in shards}, key=str)
    if not paths:
        raise ValueError("there are no shards to collect")
    _require_all_sound([paths[at : at + AT_ONCE] for at in range(0, len(paths), AT_ONCE)], processes)
    for path in paths:
        require_made_of((of or {}).get(path, {}), path)
    return pl.scan_parquet(paths, schema=dict(ROW_SCHEMA), cache=False, glob=False)


def of_shards(shards: Iterable[Path], /) -> str:
    """Return the digest of all shards' digests, by their paths: of which rows those of a study were collected."""
    return digest_of({str(shard): digest_in_parquet(shard) for shard in shards})


def backends(shards: Iterable[Path], /) -> dict[str, int]:
    """Count the shards by what computed them (fp32, simulate, integer, or mixed: the last two), by type and device."""
    facts = [read_facts(path) for path in shards]
    used = Counter(" ".join(str(f[k]) for k in ("backend", "dtype", "device") if f.get(k)) for f in facts)
    return {backend: used[backend] for backend in sorted(used) if backend}


@contextmanager
def named_shards(shards: Iterable[Path], /) -> Iterator[None]:
    """Name the shard whose bytes or nulls stop the block: polars says which bytes, and not of which file."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, PolarsError | DamagedFile) and type(error).__name__ != "PanicException":
            raise
        for shard in shards:
            read_rows(shard)
        raise


def require_made_of(wanted: Mapping[str, Any], path: Path) -> None:
    """Raise DamagedFile unless the provenance of a shard holds what it must."""
    facts = read_facts(path) if wanted else {}
    for name, value in wanted.items():
        if facts.get(name) != json.loads(json.dumps(value)):
            told = f"{json.dumps(facts.get(name))[:200]}, not {json.dumps(value)[:200]}"
            raise DamagedFile(f"{path}: its {name} are {told}: it is of another study, variant or shard; {AGAIN}")


def _require_all_sound(parts: list[list[Path]], processes: int) -> None:
    """Check the parts, in several processes where each gets two or more: to start one takes as long as to check one."""
    processes = min(processes, len(parts) // 2)
    if processes <= 1:
        for part in parts:
            _require_sound(part)
        return
    with workers(processes) as pool:
        list(pool.map(_require_sound, parts))  # the first that fails, in their order, raises


def _require_sound(shards: list[Path]) -> None:
    """Raise FileNotFoundError or DamagedFile unless shards have the columns of rows, and are as they were written.

    Their keys are read at once, which takes a third of the time; where something is wrong, of each alone, to name it.
    """
    try:
        for path in shards:
            _require_columns(path)
        with damage_named(shards[0]):
            keys = pl.scan_parquet(shards, glob=False, cache=False).select(OF_ONE).collect()
        require_short_texts(keys.lazy(), shards[0])
        require_full(keys.lazy(), shards[0])
        require_once(keys, shards[0])
    except (ValueError, OSError):
        if len(shards) == 1:
            raise
        for path in shards:
            _require_sound([path])


def _require_columns(path: Path) -> None:
    """Raise FileNotFoundError or DamagedFile unless a shard is as it was written, and has the columns of rows."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such shard")
    schema = require_bounded(path)
    require_unchanged(path)
    if schema == dict(ROW_SCHEMA):
        return
    wrong = [f"has no column {name!r}" for name in ROW_SCHEMA if name not in schema]
    wrong += [f"has a column {name!r} that is unknown" for name in schema if name not in ROW_SCHEMA]
    for name, kind in ROW_SCHEMA.items():
        if schema.get(name, kind) != kind:
            wrong.append(f"{name!r} is {schema[name]}, not {kind}")
    raise DamagedFile(f"{path}: {'; '.join(wrong) or 'its columns are in another order'}: measure this shard again")
