"""What ran an exported variant: which runtime records are of, and what of it becomes rows; free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from reliquant.files.artifacts import read_facts, require_words
from reliquant.files.digests import AGAIN, DamagedFile

LAYERS = "engine_layers"  # how many products of a tower (the group) run in a type (the score)
WORDS = {"runtime": str, "runs": dict, "export": str, "bytes": int, "left_out": list, "float_weights": dict}


def require_run_of(samples: Sequence[Path], runtime: str, /) -> None:
    """Raise DamagedFile naming records that are not of a runtime, or of another export or version than the first."""
    first = None
    for path in samples:
        facts = read_facts(path)
        require_words(facts, WORDS, f"{path}: its provenance")
        if facts["runtime"] != runtime:
            raise DamagedFile(f"{path}: holds records of the runtime {facts['runtime']!r}, not of {runtime!r}; {AGAIN}")
        own = (facts["export"], facts["runs"])
        first = own if first is None else first
        if own != first:
            told = "of another export, or of another version of the runtime, than"
            raise DamagedFile(f"{path}: holds records {told} {samples[0]}; {AGAIN}")


def require_simulated(samples: Sequence[Path], /) -> None:
    """Raise DamagedFile naming records that a runtime made, where those of the simulation are wanted."""
    for path in samples:
        if runtime := read_facts(path).get("runtime"):
            raise DamagedFile(f"{path}: holds records of the runtime {runtime!r}, not of the simulation; {AGAIN}")


def exported_rows(facts: Mapping[str, Any], /) -> pl.DataFrame:
    """Return what is known of an exported variant without images: bytes of its towers' files, layers by type.

    The rows `engine_layers` have the tower as group and the type in which the runtime computes as score.
    """
    lines = [("bytes", "", "", float(facts["bytes"]), None)]
    for tower, ran in facts["runs"].items():
        total = sum(ran["layers"].values())
        lines += [(LAYERS, tower, kind, float(count), total) for kind, count in sorted(ran["layers"].items())]
    kinds = {"measure": pl.String, "group": pl.String, "score": pl.String, "value": pl.Float64, "n": pl.Int64}
    return pl.DataFrame(lines, schema=kinds, orient="row").with_columns(scale=pl.lit("native"))
