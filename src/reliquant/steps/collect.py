"""Gather the rows of all shards into one file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reliquant.artifacts import provenance, whole
from reliquant.report.collect import backends, collected, named_shards
from reliquant.steps import run
from reliquant.study import paths
from reliquant.study.check import read_study


def main() -> None:
    """Parse, scan the shards, stream them into one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--study", type=json.loads, help="the study's config, JSON: collect all its shards")
    given.add_argument("--shards-from", type=Path, help="a file with the path of one shard per line")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    names = _shards_of(args.study) if args.study else _listed(args.shards_from)
    shards = [Path(name) for name in names if name]
    rows = collected(shards)
    facts = json.dumps(provenance(step="collect", backends=backends(shards)), sort_keys=True)
    with whole(args.output) as part, named_shards(shards):
        rows.sink_parquet(part, compression="lz4", metadata={"reliquant": facts})


def _listed(path: Path) -> list[str]:
    try:
        return path.read_text().split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: must be a text with the path of one shard per line ({error})") from error


def _shards_of(config: dict[str, object]) -> list[str]:
    """List the files of rows of a study: of every evaluation, and of every variant that is explained."""
    study = read_study(config)
    shards = [paths.shard_rows(study.name, variant, shard) for variant, shard in study.evaluations]
    return shards + [paths.explain_rows(study.name, variant) for variant in study.explained]


if __name__ == "__main__":
    run(main)
