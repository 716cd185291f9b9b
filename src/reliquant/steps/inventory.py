"""List the identity of all data that an evaluation shard reads: one file on which thousands of jobs depend."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reliquant.files.artifacts import save_sealed_json
from reliquant.files.digests import Seal
from reliquant.images.inventory import identity_of
from reliquant.images.meta import read_meta, require_made_of
from reliquant.steps import run
from reliquant.study import paths


def main() -> None:
    """Parse, check or hash each file, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="all files that the shard reads")
    parser.add_argument("--entries", type=json.loads, default={}, help="entries of datasets, by meta.json, JSON")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    save_sealed_json(args.output, {str(path): _identity(path, args.entries.get(str(path))) for path in args.files})


def _identity(path: Path, entry: Mapping[str, Any] | None) -> str:
    """Check a file, and return its identity; `entry` is what prepared images must be of, if that is known."""
    if path.suffix == ".npy":  # gigabytes
        Seal(path).require()
    if path.name == paths.META:
        meta = read_meta(path.parent)
        if entry is not None:
            require_made_of(entry, meta, path.parent)
    return identity_of(path)


if __name__ == "__main__":
    run(main)
