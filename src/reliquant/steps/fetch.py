"""Download a dataset or lexicon as published, check it and unpack it."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

from reliquant import plugins
from reliquant.download.fetch import fetch
from reliquant.download.lock import check, check_or_record
from reliquant.download.source import sources_of, trusted_on_first_use
from reliquant.progress import say
from reliquant.steps import run


def main() -> None:
    """Parse, fetch the sources that the plugin names, save what was fetched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=["dataset", "lexicon"], default="dataset")
    parser.add_argument("--entry", type=json.loads, required=True, help="a plugin's entry, JSON")
    parser.add_argument("--output", type=Path, required=True, help="record of the download, beside its files")
    parser.add_argument("--lock", type=Path, required=True, help="JSON, by URL, of the sha256 that nobody publishes")
    args = parser.parse_args()
    name = args.entry[args.family]
    if not plugins.published(args.family, name):
        raise ValueError(f"{args.family} {name!r} names no SOURCES: put its files into {args.output.parent} yourself")
    sources = sources_of(args.family, args.entry)
    words = {"check": partial(check, args.lock), "record": args.output, "about": {args.family: name}}
    files = fetch(sources, args.output.parent, **words)
    for source, facts in zip(sources, files, strict=True):
        if source.sha256 is None:
            recorded = check_or_record(args.lock, source.url, {word: facts[word] for word in ("sha256", "bytes")})
            if recorded:
                now = f"what came has the sha256 {facts['sha256']}, from now on asked for by {args.lock}"
                say(name, f"{trusted_on_first_use(source)}; {now}")


if __name__ == "__main__":
    run(main)
