"""Tables as safetensors: memory-mapped, of every float type that embeddings are stored in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from reliquant.files.bounded import parse_json
from reliquant.files.digests import DamagedFile
from reliquant.images.formats import described, head_of
from reliquant.stored.column import Column, mapped
from reliquant.stored.small_floats import from_bfloat16, from_e4m3, from_e5m2

HEADER = 100_000_000  # bytes, which safetensors reads at most
TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"},
}
DECODED: dict[str, tuple[str, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "BF16": ("<u2", from_bfloat16),
    "F8_E5M2": ("u1", from_e5m2),
    "F8_E4M3": ("u1", from_e4m3),
}


def columns(path: Path, /) -> dict[str, Column]:
    """Return the tensors of a safetensors file; raise DamagedFile where it is no such file.

    Those of a type that is not read are returned without a type, for whoever needs one to refuse it.
    """
    try:
        with safe_open(path, framework="numpy") as file:  # it proves that every tensor lies inside the file
            names = list(file.keys())
    except SafetensorError as error:
        what = described(head_of(path))
        known = "" if what in ("of no known kind", "text") else f" but {what}"
        raise DamagedFile(f"{path}: truncated or not a safetensors file{known} ({error})") from error
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = parse_json(file.read(size), f"{path}: its header", HEADER)
    return {name: _column(path, name, header[name], 8 + size) for name in names}


def _column(path: Path, name: str, facts: dict[str, Any], start: int) -> Column:
    stored, shape, offset = facts["dtype"], tuple(facts["shape"]), start + facts["data_offsets"][0]
    if stored in TYPES:
        return mapped(path, name, shape, np.dtype(TYPES[stored]), offset=offset, stored=stored)
    if stored in DECODED:
        kind, decode = DECODED[stored]
        return mapped(path, name, shape, np.dtype(kind), offset=offset, stored=stored, decode=decode)
    return Column(shape, stored, None, lambda rows: np.empty(0))
