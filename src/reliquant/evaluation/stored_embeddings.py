"""Embeddings of captioned sets in a file, as the rule `embed` writes them: written, and read checked; free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reliquant.evaluation.belonging import require_labels
from reliquant.files.artifacts import load_tensors, provenance, read_header, require_words, save_tensors
from reliquant.files.digests import AGAIN, DamagedFile
from reliquant.measures.retrieval import Captioned

KIND = "embeddings"
WORDS = {"labels": dict, "variant": str, "model_sha256": str, "sets": dict, "data": dict}
ARRAYS: dict[str, tuple[type, int]] = {  # of each set: type and number of axes
    "image": (np.float32, 2),
    "text": (np.float32, 2),
    "image_of": (np.int64, 1),
    "label": (np.int64, 1),
    "photographs": (np.uint64, 1),
}
OPTIONAL = ("label", "photographs")


def save_embeddings(
    path: Path, sets: Mapping[str, Captioned], counts: Mapping[str, Mapping[str, int]], /, **facts: Any
) -> None:
    """Write the embeddings of captioned sets, by name, with what is known of each (`Gallery.facts`) and more facts."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, captioned in sets.items():
        for what, (kind, _) in ARRAYS.items():
            if (array := getattr(captioned, what)) is not None:
                arrays[f"{name}/{what}"] = np.asarray(array, kind)
    save_tensors(path, arrays, provenance(kind=KIND, sets={name: dict(of) for name, of in counts.items()}, **facts))


def load_embeddings(path: Path, /) -> tuple[dict[str, Captioned], dict[str, Any]]:
    """Read the embeddings of captioned sets, by name, and the header of their file.

    Raises FileNotFoundError, or DamagedFile naming the file where it was changed, or is none of this kind.
    """
    arrays, header = load_tensors(path)
    if header.get("kind") != KIND:
        raise DamagedFile(f"{path}: is a {header.get('kind')}, not embeddings; {AGAIN}")
    require_words(header, WORDS, f"{path}: its header")
    return {name: _captioned(path, name, arrays) for name in header["sets"]}, header


def require_embeddings_of(
    labels: Mapping[str, Any], embeddings: Path, baseline: Path | None, sets: Sequence[str] | None = None, /
) -> None:
    """Raise DamagedFile unless embeddings are of a variant, and those of the baseline of its FP32 model, same data.

    `labels` are the row columns that name the variant; `sets` are the datasets that the file must hold.
    """
    header = read_header(embeddings)
    require_words(header, WORDS, f"{embeddings}: its header")
    require_labels(header, labels, embeddings)
    if sets is not None and list(header["sets"]) != list(sets):
        told = f"holds the sets {', '.join(header['sets'])}, not {', '.join(sets)}"
        raise DamagedFile(f"{embeddings}: {told}; {AGAIN}")
    if baseline is None:
        return
    other = read_header(baseline)
    require_words(other, WORDS, f"{baseline}: its header")
    fp32 = {name: labels[name] for name in ("study", "model") if name in labels} | {"scheme": "fp32"}
    require_labels(other, fp32, baseline)
    if other["model_sha256"] != header["model_sha256"]:
        raise DamagedFile(f"{baseline}: is of another FP32 model than the one of {embeddings}; {AGAIN}")
    if other["data"] != header["data"]:
        raise DamagedFile(f"{baseline}: is of other images or captions than {embeddings}; {AGAIN}")


def _captioned(path: Path, name: str, arrays: Mapping[str, NDArray[Any]]) -> Captioned:
    found: dict[str, Any] = dict.fromkeys(ARRAYS)
    for what, (kind, axes) in ARRAYS.items():
        array = arrays.get(f"{name}/{what}")
        if array is None and what in OPTIONAL:
            continue
        if array is None or array.dtype != kind or array.ndim != axes:
            told = "is missing" if array is None else f"is {array.dtype} {array.shape}"
            raise DamagedFile(f"{path}: {name}/{what} {told}, not {np.dtype(kind)} in {axes} axes; {AGAIN}")
        found[what] = array
    return Captioned(**found)
