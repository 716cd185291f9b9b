"""The states that a variant had on its way through training, as they lie in the archive beside it; free of torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

from reliquant.download.unpack import unpack
from reliquant.files import scratch
from reliquant.files.artifacts import read_header
from reliquant.files.digests import AGAIN, DamagedFile


@contextmanager
def unpacked(archive: Path, /) -> Iterator[list[Path]]:
    """Yield the files of an archive of snapshots in the order of their iterations, until the block ends.

    Raises ValueError naming the archive where it is damaged or compressed, or does not hold each iteration that the
    variant's own entry names, once, and under its name.
    """
    with scratch.folder(Path(gettempdir()), "snapshots", private=True) as folder:
        try:
            unpack(archive, folder, limit=archive.stat().st_size)  # it is written without compression
        except OSError as error:
            error.filename = error.filename or str(folder)  # a full disk is told of an open file, which has no name
            raise
        files = sorted(path for path in folder.iterdir() if path.is_file())
        if problem := _problem(files):
            raise DamagedFile(f"{archive}: {problem}; {AGAIN}")
        yield sorted(files, key=lambda path: int(path.stem))


def _problem(files: list[Path]) -> str:
    """Say what is wrong with the names of snapshots, or with what their headers say of them; "" where nothing is."""
    wanted: list[object] = []
    for path in files:
        try:
            header = read_header(path)
            own, wanted = header["iteration"], header["entry"]["snapshots"]
        except (ValueError, KeyError, TypeError) as error:
            return f"{path.name} is no snapshot ({str(error).replace(f'{path}: ', '')[:200]})"
        if path.name != f"{own}.safetensors" or not isinstance(own, int):
            return f"{path.name} holds the state after {own} iterations"
    names = {f"{iteration}.safetensors" for iteration in wanted}
    there = {path.name for path in files}
    if lacking := sorted(names - there):
        return f"has no {', '.join(lacking)}"
    return f"has {', '.join(sorted(there - names))}, which its entry names not" if there != names else ""
