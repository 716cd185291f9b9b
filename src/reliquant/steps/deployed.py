"""Gather the rows of all exported variants into one file, beside the study's rows and apart from them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from reliquant.deploy.timed import require_times_of
from reliquant.evaluation.belonging import require_current
from reliquant.files.artifacts import metadata, provenance, read_facts, whole
from reliquant.files.digests import seal_parquet
from reliquant.report.collect import backends, collected, named_shards, of_shards
from reliquant.steps import run
from reliquant.study import deployment, paths
from reliquant.study.check import read_study
from reliquant.study.study import Study


def main() -> None:
    """Parse, check that the rows are those of what lies there, stream them into one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=json.loads, required=True, help="the study's config, JSON")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    study, digests = read_study(args.study), dict[str, str]()
    for rows, needed in deployment.rows_made_of(study).items():
        if Path(rows).is_file():
            require_current(Path(rows), [Path(name) for name in needed], digests)
    of = {Path(paths.run_rows(study.name, *each)): deployment.facts_of(study, each) for each in deployment.runs(study)}
    for model in deployment.timed(study):
        path = Path(paths.times(study.name, model))
        require_times_of(path, [Path(folder) for folder in deployment.folders_of(study, model)])
        of[path] = {"kind": "times"}
    shards = list(of)
    frame = collected(shards, of=of)
    told = {"backends": backends(shards), "shards": of_shards(shards), "runs": _ran(study)}
    with whole(args.output) as part, named_shards(shards):
        frame.sink_parquet(part, compression="lz4", metadata=metadata(provenance(step="deployed", **told)))
        seal_parquet(part)


def _ran(study: Study) -> dict[str, dict[str, Any]]:
    """Say what really ran of each exported variant: by its path and the runtime, what each tower's session said."""
    found: dict[str, dict[str, Any]] = {}
    for each in deployment.runs(study):
        path, runtime, _ = each
        facts = read_facts(Path(paths.run_rows(study.name, *each)))
        told = {word: facts[word] for word in ("runs", "export", "left_out", "float_weights", "simulated_by")}
        found.setdefault(path, {}).setdefault(runtime, told)
    return found


if __name__ == "__main__":
    run(main)
