"""Download a dataset or lexicon as published, check and unpack it."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from reliquant import plugins
from reliquant.fetch import fetch
from reliquant.records import save_json
from reliquant.steps import run


def main() -> None:
    """Parse, fetch the sources that the plugin names, save what was fetched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=["dataset", "lexicon"], default="dataset")
    parser.add_argument("--plugin", required=True, help="a plugin of the family, with SOURCES")
    parser.add_argument("--output", type=Path, required=True, help="fetched.json in the folder of its files")
    args = parser.parse_args()
    if not plugins.defines(args.family, args.plugin, "SOURCES"):
        where = args.output.parent
        raise ValueError(f"{args.family} {args.plugin!r} names no SOURCES: put its files into {where} yourself")
    name = args.plugin if "." in args.plugin else f"reliquant.{plugins.folder(args.family).name}.{args.plugin}"
    files = fetch(importlib.import_module(name).SOURCES, args.output.parent)
    save_json(args.output, {args.family: args.plugin, "files": files})


if __name__ == "__main__":
    run(main)
