"""Features and probabilities that somebody stored as safetensors: read and checked, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from reliquant.artifacts import DamagedFile
from reliquant.evaluation.features import Features

Arrays = Mapping[str, NDArray[Any]]


def read_arrays(path: Path, /) -> Arrays:
    """Read a safetensors file; raise FileNotFoundError, or DamagedFile where it is no such file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DamagedFile(f"{path}: truncated or not a safetensors file ({error})") from error


def require(path: Path, arrays: Arrays, /, *names: str) -> None:
    """Raise ValueError with what is there unless all the named arrays are."""
    for name in names:
        if name not in arrays:
            raise ValueError(f"{path}: has no tensor {name!r}; there are {', '.join(sorted(arrays))}")


def features_of(path: Path, arrays: Arrays, head: Arrays, label: NDArray[Any], /) -> Features:
    """Put stored image features (n, d) beside the text features (c, d) and the logit scale of `head`.

    Rows are brought to unit length. Raises ValueError naming the file where an array has no two axes, holds NaN or
    infinite values, or does not fit the others.
    """

    def unit(name: str, x: NDArray[Any]) -> NDArray[np.float32]:
        if x.ndim != 2:
            raise ValueError(f"{path}: {name} must have two axes, not shape {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError(f"{path}: {name} holds NaN or infinite values")
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    bias = float(head["logit_bias"].item()) if "logit_bias" in head else 0.0
    try:
        return Features(
            unit("image", arrays["image"]),
            unit("text", head["text"]),
            label.astype(np.int64),
            float(head["logit_scale"].item()),
            bias,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}".replace(f"{path}: {path}", str(path))) from error
