"""Download a dataset or lexicon as published, check and unpack it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reliquant import plugins
from reliquant.fetch import fetch, sources_of
from reliquant.records import save_json
from reliquant.steps import run


def main() -> None:
    """Parse, fetch the sources that the plugin names, save what was fetched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=["dataset", "lexicon"], default="dataset")
    parser.add_argument("--entry", type=json.loads, required=True, help="a plugin's entry, JSON")
    parser.add_argument("--output", type=Path, required=True, help="fetched.json in the folder of its files")
    args = parser.parse_args()
    name = args.entry[args.family]
    if not plugins.published(args.family, name):
        where = args.output.parent
        raise ValueError(f"{args.family} {name!r} names no SOURCES: put its files into {where} yourself")
    save_json(args.output, {args.family: name, "files": fetch(sources_of(args.family, args.entry), args.output.parent)})


if __name__ == "__main__":
    run(main)
