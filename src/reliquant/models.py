"""Models and variants as files: the FP32 state dict with its tower entry, and quantized variants on top of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reliquant import plugins
from reliquant.clip import Clip
from reliquant.records import DamagedFile, load_tensors, provenance, save_tensors
from reliquant.variant import restore


def save_model(path: Path, clip: Clip, entry: Mapping[str, Any], /, **facts: Any) -> None:
    """Write a model's FP32 state dict; the header holds the tower entry that loads it and the given facts."""
    arrays = {name: value.detach().cpu().numpy() for name, value in clip.model.state_dict().items()}
    parameters = sum(p.numel() for p in clip.model.parameters())
    made = provenance(kind="model", tower=dict(entry), form=clip.form, parameters=parameters, **facts)
    save_tensors(path, arrays, made)


def load_model(path: Path, /) -> tuple[Clip, dict[str, Any]]:
    """Read a model and its header, on the CPU, in evaluation mode; raise DamagedFile if it is not whole."""
    arrays, header = load_tensors(path)
    if header.get("kind") != "model":
        raise DamagedFile(f"{path}: is a {header.get('kind')}, not a model")
    clip = plugins.load("tower", header["tower"])({name: torch.from_numpy(array) for name, array in arrays.items()})
    clip.model.eval()
    return clip, header


def load_variant(model: Path, variant: Path, /) -> tuple[Clip, dict[str, Any]]:
    """Read a model and quantize it as the variant's file says; raise DamagedFile if the two do not belong together."""
    clip, facts = load_model(model)
    arrays, header = load_tensors(variant)
    if header.get("kind") != "variant":
        raise DamagedFile(f"{variant}: is a {header.get('kind')}, not a variant")
    if header["model_sha256"] != facts["sha256"]:
        raise DamagedFile(f"{variant}: was made from other weights than {model} holds; quantize it again")
    restore(clip.model, arrays, header["modules"])
    return clip, header
