"""Any open_clip model: an architecture with a pretrained tag or file, a hub repository, or a local folder."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from reliquant.download.hub import hub_folder, weights_in
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip


def tower(
    state: dict[str, torch.Tensor] | None,
    /,
    *,
    architecture: str,
    pretrained: str | None = None,
    cache: str | None = None,
    revision: str | None = None,
) -> Clip:
    """Build `architecture` (`ViT-B-32`, `hf-hub:org/repo`, `local-dir:folder`) and load `state`, else its weights.

    `pretrained` is a tag of open_clip's table or the path of a checkpoint (a pickle is read with weights_only).
    `revision` is a commit of the repository on the hub. Raises ValueError when the architecture or tag is unknown
    (naming what there is), when the tag was trained with another activation, or when the tokenizer needs transformers;
    FetchError when weights cannot be fetched.
    """
    if architecture.startswith("hf-hub:"):
        folder = hub_folder(architecture.removeprefix("hf-hub:"), revision=revision, cache=cache)
        architecture = f"local-dir:{folder}"
    if ":" not in architecture and architecture not in open_clip.list_models():
        there = ", ".join(open_clip.list_models())
        raise ValueError(f"architecture {architecture!r} is unknown to open_clip; there are {there}")
    _check_transformers(architecture)
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns of "random" weights that are loaded a line later
    model = _model(state, architecture, pretrained, cache, revision)
    facts = open_clip.get_model_preprocess_cfg(model)
    return Clip(
        model=model.eval(),
        tokenizer=open_clip.get_tokenizer(architecture, cache_dir=cache),
        size=facts["size"] if isinstance(facts["size"], int) else facts["size"][0],
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
        resize="squash" if facts.get("resize_mode") == "squash" else "shortest",
        interpolation=facts.get("interpolation", "bicubic"),
    )


def _model(
    state: dict[str, torch.Tensor] | None,
    architecture: str,
    pretrained: str | None,
    cache: str | None,
    revision: str | None,
) -> torch.nn.Module:
    """Build the model and load `state`; without one, load a tag's weights, a checkpoint or those of a local folder."""
    words = {"load_weights": state is None, "cache_dir": cache}
    published = open_clip.get_pretrained_cfg(architecture, pretrained) if pretrained else {}
    if state is not None or published:  # else open_clip would ask the hub each time, even to load nothing
        words |= {"pretrained_text": False, "force_preprocess_cfg": _preprocessing(architecture, published)}
    try:
        checkpoint = None if state is not None or published else pretrained
        model = open_clip.create_model(architecture, pretrained=checkpoint, **words)
        if state is None and published:
            path = weights(architecture=architecture, pretrained=pretrained, cache=cache, revision=revision)
            open_clip.load_checkpoint(model, str(path), weights_only=True)
    except RuntimeError as error:
        raise ValueError(f"architecture {architecture!r}, pretrained {pretrained!r}: {error}") from error
    if state is not None:
        model.load_state_dict(state)
    return model


def weights(
    *, architecture: str, pretrained: str | None = None, cache: str | None = None, revision: str | None = None
) -> Path | None:
    """Fetch the published weights of an entry and return their path; None for weights that are on no hub.

    Raises ValueError where the architecture needs transformers, before anything is fetched.
    """
    if ":" not in architecture:
        _check_transformers(architecture)
    published = open_clip.get_pretrained_cfg(architecture, pretrained).get("hf_hub", "") if pretrained else ""
    repository, _, name = published.rpartition("/")
    if architecture.startswith("hf-hub:"):
        repository, name = architecture.removeprefix("hf-hub:"), ""
    if not repository:
        return None
    return weights_in(hub_folder(repository, revision=revision, cache=cache), name)


def _check_transformers(architecture: str) -> None:
    """Raise ValueError where the tokenizer or text tower is one of transformers, and transformers is not installed."""
    words = (open_clip.get_model_config(architecture) or {}).get("text_cfg", {})
    if words.keys() & {"hf_tokenizer_name", "hf_model_name"} and find_spec("transformers") is None:
        raise ValueError(f"architecture {architecture!r} needs transformers: pip install 'reliquant[huggingface]'")


def _preprocessing(architecture: str, published: dict[str, Any]) -> dict[str, Any]:
    """Return the preprocessing that a tag was trained with, nothing without a tag.

    Raises ValueError if the tag was trained with another activation than the architecture has.
    """
    if not published:
        return {}
    own = open_clip.get_model_config(architecture).get("quick_gelu", False)
    if published.get("quick_gelu", False) != own:
        plain = architecture.removesuffix("-quickgelu")
        other = plain if plain != architecture else f"{architecture}-quickgelu"
        raise ValueError(f"architecture {architecture!r}: these weights were trained with the activation of {other!r}")
    return {word: published[word] for word in published if word in ("mean", "std", "interpolation", "resize_mode")}
