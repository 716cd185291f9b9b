"""Exported variants of one model, timed in turns in each runtime, as rows of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from reliquant.deploy.folder import read_export
from reliquant.deploy.runtimes import Runtime
from reliquant.deploy.timing import by_batch, named, peak_memory
from reliquant.deploy.timing_rows import Values, measures_of, rows_of
from reliquant.files.artifacts import DamagedFile, read_facts
from reliquant.files.digests import AGAIN


def timed_rows(
    folders: Sequence[Path],
    runtimes: Sequence[Runtime],
    towers: Sequence[Literal["image", "text"]],
    /,
    *,
    batches: Sequence[int],
    rounds: int,
    threads: int,
) -> pl.DataFrame:
    """Return the rows of exported folders, of which the first is FP32's, in each runtime and of each tower.

    Measures are those of `timing_rows.measures_of`, the bytes of the tower's file, and the peak memory of a process
    that runs it at the largest batch. Raises what `timing.named` raises.
    """
    parts = []
    for runtime in runtimes:
        for tower in towers:
            sides = [named(folder, tower, runtime) for folder in folders]
            found = by_batch(sides, batches, rounds, threads=threads)
            for place, side in enumerate(sides):
                sizes: dict[str, Values] = {"file_bytes": (float(side.file_bytes), None, None)}
                peak = peak_memory(side, max(batches), threads=threads)
                if peak is not None:
                    sizes["peak_memory_mb"] = (peak / 1e6, None, None)
                parts.append(rows_of(side, measures_of(found, place, 0) | sizes, rounds, {}))
    return pl.concat(parts)


def exports_of(folders: Sequence[Path], /) -> dict[str, str]:
    """Return the sha256 of each exported folder, by its path."""
    return {str(folder): read_export(folder)["sha256"] for folder in folders}


def require_times_of(path: Path, folders: Sequence[Path], /) -> None:
    """Raise DamagedFile where times are of other exported folders than those that lie there."""
    facts: dict[str, Any] = read_facts(path)
    if facts.get("kind") != "times" or facts.get("exports") != exports_of(folders):
        raise DamagedFile(f"{path}: holds times of other exports than those that lie there; {AGAIN}")
