"""What travels between steps, and how it is written and read whole: atomic, checksummed, with provenance."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import reliquant
from reliquant.files import bounded, digests, scratch
from reliquant.files.digests import DamagedFile, Seal, SealedArray
from reliquant.files.parquet_limits import check_footer

KEPT = 200  # resamples of which rows keep the values, see `measures/resampling.py`
REPLICATES = pl.Array(pl.Float32, KEPT)
COLUMNS: dict[str, pl.DataType] = {
    **dict.fromkeys(["study", "model", "source", "scheme", "family", "precision", "scope", "proxy"], pl.String()),
    **dict.fromkeys(["seed", "iteration"], pl.Int64()),
    **dict.fromkeys(["suite", "dataset", "reference", "group", "corruption"], pl.String()),
    "severity": pl.Int64(),
    **dict.fromkeys(["scale", "score", "measure"], pl.String()),
    **dict.fromkeys(["value", "low", "high", "p"], pl.Float64()),
    "n": pl.Int64(),
    "replicates": REPLICATES,  # values in shared resamples, of rows that keep them
}
ROW_SCHEMA = pl.Schema(COLUMNS)
UNKNOWN = "unknown"  # in rows, of what nobody said: the precision, family, scope or source of others' files

LARGEST_JSON = 2**30  # bytes: captions of millions of images
TYPES = {"BOOL", "U8", "I8", "I16", "U16", "F16", "I32", "U32", "F32", "F64", "I64", "U64"}  # that numpy has, too
SPARE = 2**20  # bytes: a disk that has less is full
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)  # a disk that takes no more
KINDS: dict[Any, str] = {  # of what JSON holds
    **{dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number", Real: "a number"},
    **{bool: "true or false", type(None): "null", object: "a value"},
}


@contextmanager
def whole(path: Path, /) -> Iterator[Path]:
    """Yield a temporary path; move it to `path` when the block ends well, delete it when it does not.

    It lies in a hidden folder beside `path`, with whatever else a library writes beside it; what killed processes left
    there is deleted. The file may be read by whom the umask lets, whoever wrote it. Where the disk or its rights are at
    fault, the OSError names `path`.
    """
    path = Path(path)
    with _blamed(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        with scratch.folder(path.parent, path.name) as folder:
            part = folder / path.name
            yield part
            part.chmod(folder.stat().st_mode & 0o666)  # some libraries make files that are the user's alone
            with open(part, "rb") as file:
                os.fsync(file.fileno())
            os.replace(part, path)


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """Turn what any library raises where the disk is full or cannot be written into an OSError that names `path`."""
    try:
        yield
    except Exception as error:
        other = getattr(error, "filename", None)
        if isinstance(other, str | os.PathLike) and path.parent not in (Path(other), *Path(other).parents):
            raise
        text = re.sub(r"^\d+ requested and \d+ written$", os.strerror(errno.ENOSPC), str(error))  # numpy's words
        if "transport error" in text and shutil.disk_usage(path.parent).free < SPARE:  # polars' words for a footer
            text = os.strerror(errno.ENOSPC)
        number = next((n for n in DISK if getattr(error, "errno", 0) == n or os.strerror(n) in text), None)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error  # numpy, polars and others name no file


def take_space(path: Path, /) -> None:
    """Take all the space of a mapped file now: a disk that is full later would kill the process without a message."""
    if hasattr(os, "posix_fallocate") and path.stat().st_size:  # macOS has none
        with open(path, "r+b") as file, _blamed(path):
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


_installed_version = functools.cache(version)  # whose metadata are read once


def provenance(**facts: Any) -> dict[str, Any]:
    """Say how an artifact was made: the given facts and the versions. No clock: equal runs give equal bytes."""
    packages = ("torch", "open_clip_torch", "numpy", "polars")
    versions = {"python": platform.python_version(), "reliquant": reliquant.__version__}
    return {**facts, "versions": versions | {p: _installed_version(p) for p in packages}}


def sha256_of_tensors(tensors: Mapping[str, NDArray[Any]], built_from: Any = None, /) -> str:
    """Hash names, types, shapes and bytes of the tensors in the order of their names.

    `built_from` is what else the outputs of a model depend on, as JSON reads it back; None where there is nothing.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
        if array.size:
            digest.update(array.reshape(-1).view(np.uint8).data)
    if built_from is not None:
        digest.update(json.dumps(built_from, sort_keys=True).encode())
    return digest.hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any], /) -> None:
    """Write arrays and a JSON header as safetensors, whole or not at all; the header gains sha256 and digest.

    The sha256 is of the arrays, and of what the header says under `built_from`, if it has that.
    """
    facts = digests.with_digest({**header, "sha256": sha256_of_tensors(tensors, header.get("built_from"))})
    with whole(path) as part:
        arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
        save_file(arrays, part, metadata={"reliquant": json.dumps(facts, sort_keys=True)})


def read_header(path: Path, /) -> dict[str, Any]:
    """Read the JSON header of a safetensors file; raise DamagedFile if it is not one of ours."""
    return _open(path, lambda file: _header(path, file))


def load_tensors(path: Path, /) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read arrays and header; raise DamagedFile when truncated, altered (sha256) or not written by `save_tensors`."""

    def read(file: Any) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        header, names = _header(path, file), list(file.keys())
        for name in names:
            if (kind := file.get_slice(name).get_dtype()) not in TYPES:
                raise DamagedFile(f"{path}: {name} is {kind}, a type that is never written here; {digests.AGAIN}")
        return {name: file.get_tensor(name) for name in names}, header

    tensors, header = _open(path, read)
    if header.get("sha256") != sha256_of_tensors(tensors, header.get("built_from")):
        raise DamagedFile(
            f"{path}: the tensors do not match the sha256 in the header: the file was altered; {digests.AGAIN}"
        )
    return tensors, header


def _open(path: Path, read: Any) -> Any:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            return read(file)
    except SafetensorError as error:
        raise DamagedFile(f"{path}: truncated or not a safetensors file ({error}); {digests.AGAIN}") from error


def _header(path: Path, file: Any) -> dict[str, Any]:
    text = (file.metadata() or {}).get("reliquant")
    if text is None:
        raise DamagedFile(f"{path}: no reliquant header; it was not written by this project; {digests.AGAIN}")
    about = f"{path}: its header"
    return digests.require_same(parsed(text, about), about, needed=False)  # models that are shipped have none


def parsed(text: str | bytes, about: str, /) -> dict[str, Any]:
    """Parse a JSON object; raise DamagedFile, about the file that is named, for anything else."""
    try:
        value = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:  # no text, no JSON, or nested without end
        raise DamagedFile(
            f"{about} is no JSON, or truncated or damaged ({str(error)[:200]}); delete it, and make or fetch it again"
        ) from error
    if not isinstance(value, dict):
        raise DamagedFile(f"{about} holds {KINDS[type(value)]}, where an object is expected: {{...}}")
    return value


def read_json(path: Path, /) -> dict[str, Any]:
    """Read a JSON object; raise FileNotFoundError, TooMuch, or DamagedFile where the file holds anything else."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    return parsed(bounded.read_bytes(path, LARGEST_JSON), f"{path}:")


def require_words(found: Mapping[str, Any], words: Mapping[str, type], about: str, /) -> None:
    """Raise DamagedFile unless a JSON object has these words, with values of these types."""
    for word, kind in words.items():
        if word not in found:
            raise DamagedFile(f"{about} has no {word!r}: damaged, or of another version of reliquant; make it again")
        value = found[word]
        if not isinstance(value, kind) or (kind not in (bool, object) and isinstance(value, bool)):
            told = f"{word!r} must be {KINDS[kind]}, not {json.dumps(value)[:60]}"
            raise DamagedFile(f"{about} is damaged, or of another version of reliquant: {told}; make it again")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it names a key twice")
    return found


def save_sealed_json(path: Path, value: Mapping[str, Any], /) -> None:
    """Write a JSON object with its digest (`digests.OF_JSON`), whole or not at all."""
    save_json(path, digests.with_digest(value))


def read_sealed_json(path: Path, /, *, needed: bool = True) -> dict[str, Any]:
    """Read a JSON object; raise FileNotFoundError, or DamagedFile where it is not as `save_sealed_json` wrote it.

    Where no digest is `needed`, an object made by hand may have none.
    """
    return digests.require_same(read_json(path), f"{path}:", needed=needed)


def save_json(path: Path, value: Any, /) -> None:
    """Write JSON, sorted and indented, whole or not at all."""
    with whole(path) as part:
        part.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def save_frame(path: Path, frame: pl.DataFrame, facts: Mapping[str, Any], /) -> None:
    """Write a frame as parquet with its provenance and a digest in the file's metadata, whole or not at all."""
    with whole(path) as part:
        frame.write_parquet(part, metadata=metadata(facts))
        digests.seal_parquet(part)


def metadata(facts: Mapping[str, Any], /) -> dict[str, str]:
    """Return the metadata of a parquet file of this project: facts, and a place for its digest."""
    return {"reliquant": json.dumps(facts, sort_keys=True), digests.KEY: digests.NO_DIGEST}


def read_facts(path: Path, /) -> dict[str, Any]:
    """Read the provenance that `save_frame` put into a parquet file; empty if another program wrote it."""
    check_footer(path)
    text = pl.read_parquet_metadata(path).get("reliquant", "{}")
    return parsed(text, f"{path}: its metadata")


def save_array(path: Path, array: NDArray[Any], about: Mapping[str, Any] | None = None, /) -> str:
    """Write an array as npy with its digests and facts `about` it, whole or not at all; return its identity."""
    with whole(path) as part:
        with open(part, "wb") as file:
            np.save(file, array, allow_pickle=False)
        return digests.seal(part, about)


def open_array(path: Path, kind: type[np.generic], axes: int, /) -> SealedArray:
    """Open an array of `save_array`, mapped: what is taken out of it is checked.

    Raises FileNotFoundError; DamagedFile where it is not as it was written, or not of this type and number of axes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    seal = Seal(path)
    seal.require(0, 1)  # the block of the header
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header, which numpy evaluates, may raise anything
        raise DamagedFile(f"{path}: damaged, or no npy file ({str(error)[:200]}); {digests.AGAIN}") from error
    if not isinstance(array, np.memmap) or array.dtype != kind or array.ndim != axes:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise DamagedFile(f"{path}: must hold {np.dtype(kind)} in {axes} axes, not {found}; {digests.AGAIN}")
    return SealedArray(array, seal)
