"""Models as files: the FP32 state dict with the tower entry that loads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reliquant import plugins
from reliquant.files.artifacts import (
    DamagedFile,
    load_tensors,
    provenance,
    read_header,
    require_words,
    save_tensors,
    sha256_of_tensors,
)
from reliquant.models.clip import Clip
from reliquant.study.built_from import describing_files, require_same_files


def save_model(path: Path, clip: Clip, entry: Mapping[str, Any], /, **facts: Any) -> None:
    """Write a model's FP32 state dict; the header holds the tower entry that loads it, its Clip's facts and others.

    `built_from` in it is what else its outputs depend on: the entry, the files that it names, the preprocessing.
    """
    arrays = {name: value.detach().cpu().numpy() for name, value in clip.model.state_dict().items()}
    parameters = sum(p.numel() for p in clip.model.parameters())
    words = {word: value for word, value in entry.items() if word != "cache"}
    pixels = {"form": clip.form, "mean": list(clip.mean), "std": list(clip.std)}
    facts["built_from"] = {"tower": words, "files": describing_files(entry), **pixels}
    made = provenance(kind="model", tower=dict(entry), form=clip.form, parameters=parameters, **clip.facts, **facts)
    save_tensors(path, arrays, made)


def load_model(path: Path, /, *, tower: str | None = None) -> tuple[Clip, dict[str, Any]]:
    """Read a model and its header, on the CPU, in evaluation mode; raise DamagedFile if it is not whole.

    `tower` is the module of the caller's own that the header may name; without it only the package's towers are opened,
    and ValueError is raised for others, before anything is imported.
    """
    arrays, header = load_tensors(path)
    if header.get("kind") != "model":
        raise DamagedFile(f"{path}: is a {header.get('kind')}, not a model")
    require_words(header, {"sha256": str, "tower": dict, "form": str}, f"{path}: its header")
    entry = trusted_entry(path, header, tower)
    require_same_files(path, header)
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    try:
        clip = plugins.load("tower", entry)(state)
    except Exception as error:  # of a tower, of what a header names, or of weights that are not its own
        told = " ".join(str(error).split()) or type(error).__name__
        raise DamagedFile(f"{path}: the tower that its header names cannot be built: {told[:600]}") from error
    clip.model.eval()
    _check_preprocessing(path, clip, header)
    return clip, header


def sha256_of_model(word: str, clip: Clip, /) -> str:
    """Return the sha256 by which variants and exports name a model: of our own file, else of its tensors."""
    if Path(word).suffix == ".safetensors" and Path(word).is_file():
        return str(read_header(Path(word))["sha256"])
    return sha256_of_tensors({name: value.detach().cpu().numpy() for name, value in clip.model.state_dict().items()})


def trusted_entry(path: Path, header: Mapping[str, Any], tower: str | None, /) -> dict[str, Any]:
    """Return the tower entry of a model's header, where it names code that may run: the package's, or `tower`.

    A file chooses no folder for downloads either: its word `cache` counts only where the hub's cache lies already.
    Raises ValueError for any other module, DamagedFile where the header has no entry.
    """
    require_words(header, {"tower": dict}, f"{path}: its header")
    entry, named = dict(header["tower"]), header["tower"].get("tower")
    if tower is not None and tower != named:
        raise ValueError(f"{path}: its header names the tower {named!r:.200}, not {tower}")
    if named not in plugins.names("tower") and tower is None:
        told = "is none of this package, and to open it is to run it: if you trust it, name it yourself: --tower"
        raise ValueError(f"{path}: the tower that its header names, {named!r:.200}, {told} (or tower=)")
    cache = entry.get("cache")
    if cache is not None and not (isinstance(cache, str) and any(Path(cache).glob("models--*"))):
        del entry["cache"]
    return entry


def _check_preprocessing(path: Path, clip: Clip, header: Mapping[str, Any]) -> None:
    """Raise ValueError unless the tower prepares images as it did when the model was written."""
    own = {"form": clip.form, "mean": list(clip.mean), "std": list(clip.std)}
    written = {**header["built_from"], **header} if isinstance(header.get("built_from"), dict) else header
    for word, value in own.items():
        if word in written and written[word] != value:
            told = f"was written for images of the {word} {written[word]}, and its tower now says {value}"
            raise ValueError(f"{path}: {told}: make the file again")
