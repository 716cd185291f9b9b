"""Features and probabilities that somebody stored as safetensors: read and checked, or refused by name.

Everything is brought to one type when it is read: half precision becomes float32 before anything is computed, labels
become int64. So the same numbers give the same figures whatever type they were stored in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from reliquant.evaluation.features import Features
from reliquant.files.artifacts import DamagedFile
from reliquant.files.bounded import parse_json
from reliquant.images.formats import described, head_of
from reliquant.measures.accuracy import class_numbers, labels_within
from reliquant.measures.resampling import PHOTOGRAPH

Arrays = Mapping[str, NDArray[Any]]
HEADER = 100_000_000  # bytes, which safetensors reads at most
UNKNOWN_TO_NUMPY = {"BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F6_E2M3", "F6_E3M2", "F4"}
LOG_OF_A_SCALE = 5.0  # a multiplier below it is likelier the parameter, a logarithm: CLIP's ends at 100, its log at 4.6


def read_arrays(path: Path, /) -> Arrays:
    """Read a safetensors file; bfloat16 and float16 become float32.

    Raises FileNotFoundError, DamagedFile where it is no such file, and ValueError naming a tensor of another type.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; name a safetensors file in it")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            arrays = {name: file.get_tensor(name) for name, kind in types.items() if kind not in UNKNOWN_TO_NUMPY}
    except SafetensorError as error:
        what = described(head_of(path))
        known = "" if what in ("of no known kind", "text") else f" but {what}: safetensors.numpy.save_file writes one"
        raise DamagedFile(f"{path}: truncated or not a safetensors file{known} ({error})") from error
    for name, kind in types.items():
        if kind == "BF16":
            arrays[name] = _bfloat16(path, name)
        elif name not in arrays or arrays[name].dtype.kind not in "fiub":
            known = "F64, F32, F16, BF16 and whole numbers"
            raise ValueError(f"{path}: {name} is of type {kind}; {known} are read")
    return {name: array.astype(np.float32) if array.dtype == np.float16 else array for name, array in arrays.items()}


def _bfloat16(path: Path, name: str) -> NDArray[np.float32]:
    """Read a bfloat16 tensor, which numpy does not know: the upper half of a float32."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        facts = parse_json(file.read(size), f"{path}: its header", HEADER)[name]
        begin, end = facts["data_offsets"]
        file.seek(8 + size + begin)
        halves = np.frombuffer(file.read(end - begin), "<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(facts["shape"])


@contextmanager
def naming(path: Path, /) -> Iterator[None]:
    """Put the file's name before the message of a ValueError that is raised inside the block."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def require(path: Path, arrays: Arrays, /, *names: str) -> None:
    """Raise ValueError with what is there unless all the named arrays are."""
    for name in names:
        if name not in arrays:
            raise ValueError(f"{path}: has no tensor {name!r}; there are {', '.join(sorted(arrays))}")


def labels_of(path: Path, arrays: Arrays, images: int, /) -> NDArray[np.int64]:
    """Return the class number of each of so many images, (n,); raise ValueError naming the file and what is wrong."""
    with naming(path):
        label = class_numbers(arrays["label"])
    if not images:
        raise ValueError(f"{path}: holds no images")
    if len(label) != images:
        raise ValueError(f"{path}: {len(label)} labels for {images} images")
    missing = np.flatnonzero(label < 0)
    if len(missing):
        raise ValueError(f"{path}: image {missing[0]} has the label {label[missing[0]]}; every image needs its class")
    return label


def features_of(path: Path, arrays: Arrays, head: Arrays, label: NDArray[np.int64], /) -> Features:
    """Put stored image features (n, d) beside the text features (c, d) and the logit scale of `head`.

    Rows are brought to unit length; keys of photographs (n,) are taken where they are stored. Raises ValueError naming
    the file where an array has no two axes, holds NaN, infinite values or rows of zeros, or does not fit the others.
    """
    image, text = _unit_rows(path, "image", arrays["image"]), _unit_rows(path, "text", head["text"])
    scale = _number(path, "logit_scale", head["logit_scale"])
    if scale <= 0:
        raise ValueError(f"{path}: logit_scale must be above 0: the multiplier, exp of the parameter; got {scale:g}")
    bias = _number(path, "logit_bias", head["logit_bias"]) if "logit_bias" in head else 0.0
    with naming(path):
        labels_within(label, len(text))
        return Features(image, text, label, scale, bias, photographs=_keys(arrays))


def _keys(arrays: Arrays) -> NDArray[np.uint64] | None:
    """Return the keys of photographs (n,) that are stored with images, or None; raise ValueError for other numbers."""
    if PHOTOGRAPH not in arrays:
        return None
    keys = arrays[PHOTOGRAPH]
    if keys.dtype.kind not in "iu":
        raise ValueError(f"photograph must hold whole numbers, not {keys.dtype}")
    return keys.astype(np.uint64)  # equal numbers stay equal


def doubts_of(path: Path, features: Features, /) -> list[str]:
    """Say what is likely not meant in what was read, one sentence each."""
    scale = features.logit_scale
    if scale >= LOG_OF_A_SCALE:
        return []
    other = f", or, if it is a temperature, its reciprocal, {1 / scale:.4g}" if scale < 1 else ""
    return [
        f"{path}: logit_scale {scale:g} is taken as the multiplier of the cosines. If it is the model's parameter, a"
        f" logarithm, store its exponential, {np.exp(scale):.4g}{other}: probabilities, NLL and"
        " calibration follow from it"
    ]


def _number(path: Path, name: str, array: NDArray[Any]) -> float:
    if array.size != 1:
        raise ValueError(f"{path}: {name} must hold one number, not shape {array.shape}")
    value = float(array.reshape(-1)[0])
    if not np.isfinite(value):
        raise ValueError(f"{path}: {name} is {value}")
    return value


def _unit_rows(path: Path, name: str, rows: NDArray[Any]) -> NDArray[np.float32]:
    if rows.ndim != 2:
        raise ValueError(f"{path}: {name} must have two axes, not shape {rows.shape}")
    if rows.dtype.kind != "f":
        raise ValueError(f"{path}: {name} must hold floating point numbers, not {rows.dtype}")
    if not np.isfinite(rows).all():
        raise ValueError(f"{path}: {name} holds NaN or infinite values")
    length = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not length.all():
        raise ValueError(f"{path}: row {int(np.argmin(length))} of {name} holds zeros only; it has no direction")
    return (rows / length).astype(np.float32)
