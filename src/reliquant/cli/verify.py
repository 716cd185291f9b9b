"""`reliquant verify`: whether every file of a study is as it was written, and what it is taken for."""

from __future__ import annotations

import argparse
from pathlib import Path

from reliquant.cli.output import Output
from reliquant.cli.plan import read_config
from reliquant.cli.verify_study import Checked, verify_study
from reliquant.files.digests import AGAIN, DamagedFile
from reliquant.names import name_problem
from reliquant.study import paths
from reliquant.study.stored import stored_study

EXAMPLE = "reliquant verify config/config.yaml"


def add_words(parser: argparse.ArgumentParser, /) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("study", help="a study's config, or the name of one whose results lie here")
    parser.add_argument("--json", action="store_true")


def run(*, study: str) -> Output:
    """Check all files of a study; the exit code is 1 where one is broken, or missing."""
    facts, text = Path(paths.facts(study)), Path(study)
    if text.is_file():
        whole = read_config(text.read_bytes(), str(text), command="verify")
    elif name_problem(study) or not facts.is_file():
        raise FileNotFoundError(f"{study}: no such config, and there is no {facts}")
    else:
        whole = stored_study(facts)
        if whole.name != study:
            raise DamagedFile(f"{facts}: is of the study {whole.name}, in the place of another; {AGAIN}")
    found = verify_study(whole)
    return Output([one._asdict() for one in found], _text(found), code=int(any(one.problem for one in found)))


def _text(found: list[Checked]) -> str:
    lines = [f"{one.state}: {one.path}: {one.problem}" for one in found if one.problem]
    counts = {state: sum(one.state == state for one in found) for state in ("as written", "broken", "missing")}
    told = ", ".join(f"{number} {state}" for state, number in counts.items())
    return "\n".join([*lines, f"{len(found)} files: {told}"])
