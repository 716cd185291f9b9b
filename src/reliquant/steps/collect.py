"""Gather the rows of all shards into one file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reliquant.artifacts import provenance, whole
from reliquant.report.collect import backends, collected
from reliquant.steps import run
from reliquant.study import paths
from reliquant.study.check import read_study


def main() -> None:
    """Parse, scan the shards, stream them into one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--study", type=json.loads, help="the study's config, JSON: collect all its shards")
    given.add_argument("--shards-from", type=Path, help="a file with one shard's path a line")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    shards = _of_study(args.study) if args.study else args.shards_from.read_text().split("\n")
    files = [Path(shard) for shard in shards if shard]
    frame = collected(files)
    facts = json.dumps(provenance(step="collect", backends=backends(files)), sort_keys=True)
    with whole(args.output) as part:
        frame.sink_parquet(part, metadata={"reliquant": facts})


def _of_study(config: dict[str, object]) -> list[str]:
    study = read_study(config)
    shards = [paths.shard_rows(study.name, variant, shard) for variant, shard in study.evaluations]
    return shards + [paths.explain_rows(study.name, variant) for variant in study.explained]


if __name__ == "__main__":
    run(main)
