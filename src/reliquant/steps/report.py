"""Draw a study's figures, make its tables, judge the paper's claims and put them on one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from reliquant.files.artifacts import read_sealed_json
from reliquant.report.facts import equivalence_of, pieces_of, require_facts
from reliquant.report.written import write_report
from reliquant.steps import run


def main() -> None:
    """Parse, check what is known of the study, write its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--facts", type=Path, required=True, help="models, datasets, config and versions, JSON")
    parser.add_argument("--deployed", type=Path, help="the rows of exported variants that runtimes ran")
    parser.add_argument("--output", type=Path, required=True, help="the report's folder")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    facts = read_sealed_json(args.facts, needed=False)
    require_facts(facts, str(args.facts))
    equivalence_of(facts, str(args.facts))
    pieces_of(facts, str(args.facts))
    write_report(args.rows, facts, args.output, told=args.facts, deployed=args.deployed, processes=args.processes)


if __name__ == "__main__":
    run(main)
