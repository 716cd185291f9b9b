"""List the identity of all data that an evaluation shard reads: one file on which thousands of jobs depend."""

from __future__ import annotations

import argparse
from pathlib import Path

from reliquant.download.http import sha256_of
from reliquant.files.artifacts import save_sealed_json
from reliquant.files.digests import Seal
from reliquant.images.meta import read_meta
from reliquant.steps import run
from reliquant.study import paths


def main() -> None:
    """Parse, check or hash each file, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="all files that the shard reads")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    save_sealed_json(args.output, {str(path): _identity(path) for path in args.files})


def _identity(path: Path) -> str:
    if path.suffix == ".npy":  # gigabytes: checked, and known by their digests
        seal = Seal(path)
        seal.require()
        return seal.identity
    if path.name == paths.META:
        read_meta(path.parent)
    return sha256_of(path)


if __name__ == "__main__":
    run(main)
