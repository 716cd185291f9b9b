"""Decode a dataset's images once, into arrays that all variants share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reliquant import plugins
from reliquant.images.prepare import prepare
from reliquant.steps import run


def main() -> None:
    """Parse, open the dataset, decode and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entry", type=json.loads, required=True, help="dataset entry, JSON")
    parser.add_argument("--root", type=Path, required=True, help="the folder of the dataset as published")
    parser.add_argument("--form", required=True, help="native, or <size>-<shortest|squash>-<bicubic|bilinear>")
    parser.add_argument("--unreadable", choices=["stop", "skip"], default="stop")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="the prepared folder")
    args = parser.parse_args()
    dataset = plugins.load("dataset", args.entry)(args.root)
    words = {"form": args.form, "entry": args.entry, "unreadable": args.unreadable, "workers": args.workers}
    prepare(dataset, args.output, **words)


if __name__ == "__main__":
    run(main)
