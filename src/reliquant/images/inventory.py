"""The identities of the files that evaluations read (`study/paths.py: inventory`), and whether they are still those."""

from __future__ import annotations

from pathlib import Path

from reliquant.download.http import sha256_of
from reliquant.files.artifacts import read_sealed_json
from reliquant.files.digests import DamagedFile, Seal, digest_of

AGAIN = "delete {}, and run the workflow again"


def identity_of(path: Path, /) -> str:
    """Return the identity of a file: of a sealed array that which stands behind its data, else the sha256."""
    return Seal(path).identity if path.suffix == ".npy" else sha256_of(path)


def read_inventory(path: Path, /) -> dict[str, str]:
    """Read the identities of files by their paths; raise FileNotFoundError or DamagedFile."""
    found = read_sealed_json(path)
    if not all(isinstance(identity, str) for identity in found.values()):
        raise DamagedFile(f"{path}: must hold a text for each file; {AGAIN.format('it')}")
    return found


def require_as_listed(inventory: Path, files: list[str] | None = None, /) -> str:
    """Return the digest of an inventory whose files are those that lie there: what records are computed on.

    `files` are those that are asked for (None: all); the content of arrays is checked where they are read. Raises
    FileNotFoundError, or DamagedFile naming the first file that is another one, or is not listed.
    """
    listed = read_inventory(inventory)
    for file in listed if files is None else files:
        if file not in listed:
            raise DamagedFile(f"{inventory}: does not list {file}: it is of another study; {AGAIN.format('it')}")
        if not Path(file).is_file():
            raise FileNotFoundError(f"{file}: no such file, and {inventory} tells of it; run the workflow again")
        if identity_of(Path(file)) != listed[file]:
            told = f"{file}: is another file than {inventory} tells of, of which all records of its shard are"
            raise DamagedFile(f"{told}: put it back, or {AGAIN.format(inventory)}")
    return digest_of(listed)
