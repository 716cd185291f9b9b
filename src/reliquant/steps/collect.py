"""Gather the rows of all shards into one file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from reliquant.evaluation.belonging import require_current
from reliquant.files.artifacts import metadata, provenance, whole
from reliquant.files.digests import seal_parquet
from reliquant.report.collect import backends, collected, named_shards, of_shards
from reliquant.steps import run
from reliquant.study import paths, retrieval
from reliquant.study.check import read_study
from reliquant.study.made_of import rows_made_of
from reliquant.study.sensitivity import facts_of, tried


def main() -> None:
    """Parse, scan the shards, stream them into one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--study", type=json.loads, help="the study's config, JSON: collect all its shards")
    given.add_argument("--shards-from", type=Path, help="a file with the path of one shard per line")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    of = _shards_of(args.study) if args.study else {Path(name): {} for name in _listed(args.shards_from) if name}
    shards = list(of)
    if args.study:
        _require_current(args.study)
    rows = collected(shards, of=of, processes=args.processes)
    facts = provenance(step="collect", backends=backends(shards), shards=of_shards(shards))
    with whole(args.output) as part, named_shards(shards):
        rows.sink_parquet(part, compression="lz4", metadata=metadata(facts))
        seal_parquet(part)


def _require_current(config: dict[str, object]) -> None:
    """Raise DamagedFile naming rows that are of other records or another variant than lie there."""
    study, digests = read_study(config), dict[str, str]()
    for rows, needed in rows_made_of(study).items():
        if Path(rows).is_file():
            require_current(Path(rows), [Path(name) for name in needed], digests)


def _listed(path: Path) -> list[str]:
    try:
        return path.read_text().split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: must be a text with the path of one shard per line ({error})") from error


def _shards_of(config: dict[str, object]) -> dict[Path, dict[str, Any]]:
    """Return the files of rows of a study, and what each must say of itself."""
    study = read_study(config)
    of: dict[Path, dict[str, Any]] = {}
    for variant, shard in study.evaluations:
        labels = study.row_labels(study.variants[variant])
        path = Path(paths.shard_rows(study.name, variant, shard))
        of[path] = {"labels": labels, "suites": study.suites_in(shard)}
    for variant in study.explained:
        labels = study.row_labels(study.variants[variant])
        of[Path(paths.explain_rows(study.name, variant))] = {"labels": labels, "suites": ["explain"]}
    for variant in tried(study):
        of[Path(paths.sensitivity_rows(study.name, variant))] = facts_of(study, study.variants[variant])
    for variant in retrieval.searched(study):
        of[Path(paths.retrieval_rows(study.name, variant))] = retrieval.facts_of(study, study.variants[variant])
    return of


if __name__ == "__main__":
    run(main)
