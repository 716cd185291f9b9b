"""Put published or saved weights into an open_clip model, with the conversions that open_clip makes; each is said."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import torch
from torch import nn

from reliquant.files.artifacts import DamagedFile
from reliquant.models.checkpoint import is_arrays, read_checkpoint
from reliquant.models.openclip import open_clip
from reliquant.models.state import State, load_state

POSITION_IDS = "text.transformer.embeddings.position_ids"  # older transformers had them


def load_file(model: nn.Module, path: Path, /) -> list[str]:
    """Load the weights of a file into a model in place; return what a person should know, a line each.

    Raises FileNotFoundError; DamagedFile for what is no checkpoint; ValueError for weights that do not fit. All name
    the file.
    """
    if path.is_file() and is_arrays(path):
        return _load_arrays(model, path)
    found = read_checkpoint(path)
    return [*found.notes, *load_state(model, found.state, str(path), convert=partial(converted, model))]


def converted(model: nn.Module, state: State, /) -> tuple[State, list[str]]:
    """Bring weights to the names and sizes of a model, as open_clip's own load_checkpoint does."""
    notes = []
    state = open_clip.factory.convert_state_dict(model, dict(state))
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = open_clip.factory.convert_to_custom_text_state_dict(state)
    for name in ("logit_scale", "logit_bias"):
        own = getattr(model, name, None)
        if name in state and own is not None and own.numel() == state[name].numel():
            state[name] = state[name].reshape(own.shape)
    if getattr(model, "logit_bias", None) is not None and "logit_bias" not in state and "logit_scale" in state:
        state["logit_bias"] = torch.zeros_like(state["logit_scale"])
        notes.append("with a logit_bias of 0, because the file has none")
    if POSITION_IDS in state and POSITION_IDS not in model.state_dict():
        del state[POSITION_IDS]
    return state, notes + _with_positions(model, state)


def _with_positions(model: nn.Module, state: State) -> list[str]:
    """Interpolate positional embeddings, in place in the state, to the number of positions that the model has.

    What cannot be interpolated stays as it is: it is told with all that does not fit.
    """
    notes, expected = [], model.state_dict()
    for name in ("visual.positional_embedding", "positional_embedding", "text.positional_embedding"):
        there, wanted = (tuple(where[name].shape) if name in where else () for where in (state, expected))
        if len(there) != 2 or there == wanted or there[1:] != wanted[1:]:
            continue
        of_image = name.startswith("visual.")
        if of_image and math.isqrt(there[0] - 1) ** 2 + 1 != there[0]:
            continue  # no square of patches and the class token
        resize = open_clip.factory.resize_pos_embed if of_image else open_clip.factory.resize_text_pos_embed
        resize(state, model)
        trained = "another image size" if of_image else "another context length"
        told = f"interpolated from {there[0]} to {wanted[0]} positions: it was trained for {trained}"
        notes.append(f"with {name} {told}")
    return notes


def _load_arrays(model: nn.Module, path: Path) -> list[str]:
    """Load the .npz in which big_vision publishes SigLIP's weights, by open_clip's own conversion."""
    from open_clip.convert import load_big_vision_weights

    try:
        load_big_vision_weights(model, str(path))
    except Exception as error:  # whatever arrays of other names and shapes make it raise
        told = " ".join(str(error).split()) or type(error).__name__
        raise DamagedFile(f"{path}: its arrays are not those of big_vision for this architecture ({told})") from error
    return ["arrays of big_vision, converted by open_clip"]
