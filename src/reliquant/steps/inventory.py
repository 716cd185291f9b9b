"""List the sha256 of all data that an evaluation shard reads: one file on which thousands of jobs depend."""

from __future__ import annotations

import argparse
from pathlib import Path

from reliquant.artifacts import save_json
from reliquant.download.http import sha256_of
from reliquant.images.meta import read_meta
from reliquant.steps import run
from reliquant.study import paths


def main() -> None:
    """Parse, look up or compute the sha256 of each file, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="all files that the shard reads")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    save_json(args.output, {str(path): _sha256(path) for path in args.files})


def _sha256(path: Path) -> str:
    if path.name == paths.IMAGES:  # gigabytes, hashed when they were decoded
        return read_meta(path.parent)["sha256"]
    return sha256_of(path)


if __name__ == "__main__":
    run(main)
