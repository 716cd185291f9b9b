"""Time the exported variants of one model in turns, in each runtime."""

from __future__ import annotations

import argparse
from pathlib import Path

from reliquant.deploy.machine import machine_facts
from reliquant.deploy.runtimes import RUNTIMES
from reliquant.deploy.timed import exports_of, timed_rows
from reliquant.files.artifacts import provenance, save_frame
from reliquant.steps import run


def main() -> None:
    """Parse, time, save the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exported", type=Path, nargs="+", required=True, help="exported folders, FP32's first")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, required=True)
    parser.add_argument("--towers", nargs="+", choices=["image", "text"], required=True)
    parser.add_argument("--batches", type=int, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    words = {"batches": args.batches, "rounds": args.rounds, "threads": args.threads}
    frame = timed_rows(args.exported, args.runtimes, args.towers, **words)
    facts = {"kind": "times", "exports": exports_of(args.exported), "machine": machine_facts(), **words}
    save_frame(args.output, frame, provenance(**facts))


if __name__ == "__main__":
    run(main)
