"""Download a dataset as published, check and unpack it."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from reliquant import plugins
from reliquant.fetch import fetch
from reliquant.records import save_json
from reliquant.steps import run


def main() -> None:
    """Parse, fetch the sources that the dataset's plugin names, save what was fetched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="a dataset plugin with SOURCES")
    parser.add_argument("--output", type=Path, required=True, help="fetched.json in the dataset's folder")
    args = parser.parse_args()
    if not plugins.defines("dataset", args.dataset, "SOURCES"):
        raise ValueError(f"dataset {args.dataset!r} names no SOURCES: put its files into {args.output.parent} yourself")
    module = args.dataset if "." in args.dataset else f"reliquant.datasets.{args.dataset}"
    files = fetch(importlib.import_module(module).SOURCES, args.output.parent)
    save_json(args.output, {"dataset": args.dataset, "files": files})


if __name__ == "__main__":
    run(main)
