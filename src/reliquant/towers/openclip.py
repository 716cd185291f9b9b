"""Any open_clip model: an architecture with a pretrained tag or file, a hub repository, or a local folder."""

from __future__ import annotations

import logging

import torch

from reliquant.clip import Clip
from reliquant.torchvision_shim import open_clip


def tower(
    state: dict[str, torch.Tensor] | None,
    /,
    *,
    architecture: str,
    pretrained: str | None = None,
    cache: str | None = None,
) -> Clip:
    """Build `architecture` (`ViT-B-32`, `hf-hub:org/repo`, `local-dir:folder`) and load `state`, else its weights.

    `pretrained` is a tag of open_clip's table or the path of a checkpoint (a pickle is read with weights_only).
    Raises ValueError naming the architecture or tag and what there is.
    """
    if ":" not in architecture and architecture not in open_clip.list_models():
        there = ", ".join(open_clip.list_models())
        raise ValueError(f"architecture {architecture!r} is unknown to open_clip; there are {there}")
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns of "random" weights that are loaded a line later
    try:
        model = open_clip.create_model(architecture, pretrained=pretrained, load_weights=state is None, cache_dir=cache)
    except RuntimeError as error:
        raise ValueError(f"architecture {architecture!r}, pretrained {pretrained!r}: {error}") from error
    if state is not None:
        model.load_state_dict(state)
    words = open_clip.get_model_preprocess_cfg(model)
    size = words["size"] if isinstance(words["size"], int) else words["size"][0]
    return Clip(
        model=model.eval(),
        tokenizer=open_clip.get_tokenizer(architecture, cache_dir=cache),
        size=size,
        mean=tuple(words["mean"]),
        std=tuple(words["std"]),
        resize="squash" if words.get("resize_mode") == "squash" else "shortest",
        interpolation=words.get("interpolation", "bicubic"),
    )
