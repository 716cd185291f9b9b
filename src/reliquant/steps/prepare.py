"""Decode a dataset's images once, into arrays that all variants share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reliquant import plugins
from reliquant.download.contents import require_contents
from reliquant.images.prepare import prepare
from reliquant.steps import run
from reliquant.study import paths, placed


def main() -> None:
    """Parse, open the dataset, decode and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entry", type=json.loads, required=True, help="dataset entry, JSON")
    parser.add_argument("--root", type=Path, required=True, help="the folder of the dataset as published")
    parser.add_argument("--form", required=True, help="native, or <size>-<shortest|squash>-<bicubic|bilinear>")
    parser.add_argument("--unreadable", choices=["stop", "skip"], default="stop")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="the prepared folder")
    parser.add_argument("--placed", default="", help="digest of the files that people put in place, empty for others")
    args = parser.parse_args()
    if args.placed:
        placed.require(args.placed, placed.dataset_digest(args.entry, str(args.root)), str(args.root))
    if (record := Path(paths.fetched(str(args.root)))).is_file():
        require_contents(record)
    dataset = plugins.load("dataset", args.entry)(args.root)
    words = {"form": args.form, "entry": args.entry, "unreadable": args.unreadable, "workers": args.workers}
    prepare(dataset, args.output, **words)
    if args.placed:  # nor while it was read
        placed.require(args.placed, placed.dataset_digest(args.entry, str(args.root)), str(args.root))
    placed.record(placed.record_of_images(args.output), args.placed)


if __name__ == "__main__":
    run(main)
