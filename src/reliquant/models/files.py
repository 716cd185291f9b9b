"""Models as files: the FP32 state dict with the tower entry that loads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reliquant import plugins
from reliquant.artifacts import DamagedFile, load_tensors, provenance, require_words, save_tensors
from reliquant.models.clip import Clip


def save_model(path: Path, clip: Clip, entry: Mapping[str, Any], /, **facts: Any) -> None:
    """Write a model's FP32 state dict; the header holds the tower entry that loads it, its Clip's facts and others."""
    arrays = {name: value.detach().cpu().numpy() for name, value in clip.model.state_dict().items()}
    parameters = sum(p.numel() for p in clip.model.parameters())
    made = provenance(kind="model", tower=dict(entry), form=clip.form, parameters=parameters, **clip.facts, **facts)
    save_tensors(path, arrays, made)


def load_model(path: Path, /) -> tuple[Clip, dict[str, Any]]:
    """Read a model and its header, on the CPU, in evaluation mode; raise DamagedFile if it is not whole."""
    arrays, header = load_tensors(path)
    if header.get("kind") != "model":
        raise DamagedFile(f"{path}: is a {header.get('kind')}, not a model")
    require_words(header, {"sha256": str, "tower": dict, "form": str}, f"{path}: its header")
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    try:
        clip = plugins.load("tower", header["tower"])(state)
    except Exception as error:  # of a tower, of what a header names, or of weights that are not its own
        told = " ".join(str(error).split()) or type(error).__name__
        raise DamagedFile(f"{path}: the tower that its header names cannot be built: {told[:600]}") from error
    clip.model.eval()
    _check_preprocessing(path, clip, header)
    return clip, header


def _check_preprocessing(path: Path, clip: Clip, header: Mapping[str, Any]) -> None:
    """Raise ValueError unless the tower prepares images as it did when the model was written."""
    own = {"form": clip.form, "mean": list(clip.mean), "std": list(clip.std)}
    for word, value in own.items():
        if word in header and header[word] != value:
            told = f"was written for images of the {word} {header[word]}, and its tower now says {value}"
            raise ValueError(f"{path}: {told}: make the file again")
