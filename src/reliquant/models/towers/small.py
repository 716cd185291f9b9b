"""Small CLIPs of open_clip's own classes with a word-level tokenizer: the models of the lab and of CIFAR-10."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

import reliquant.models.convnext  # noqa: F401  registers the ConvNeXt that JSON files name
from reliquant.models.clip import Clip
from reliquant.models.openclip import open_clip
from reliquant.models.shipped.weights import load_checkpoint
from reliquant.models.tokenizer import WordTokenizer, read_words

MODELS = Path(__file__).parents[1]


def tower(
    state: dict[str, torch.Tensor] | None,
    /,
    *,
    architecture: str,
    pretrained: str | None = None,
    vocabulary: str | None = None,
    seed: int = 0,
) -> Clip:
    """Build the CLIP that a JSON in open_clip's format describes and load its weights.

    `architecture` names a JSON of the package (`models/architectures/<name>.json`) or is a path to one; `vocabulary` is
    a path to a list of words in place of the package's `models/vocabulary.txt`. The weights are `state`, or the shipped
    checkpoint `pretrained` (its sha256 is checked), or random, drawn from `seed`. The model is in eval mode.
    Raises FileNotFoundError (unknown architecture), ValueError (weights that do not fit, vocabulary too long),
    DamagedFile (truncated or altered checkpoint).
    """
    config = _architecture(architecture)
    cfg, preprocess = config.get("model_cfg", config), config.get("preprocess_cfg", {})
    words = read_words(Path(vocabulary) if vocabulary else MODELS / "vocabulary.txt")
    tokenizer = WordTokenizer(words, context=cfg["text_cfg"]["context_length"])
    if len(tokenizer.ids) > cfg["text_cfg"]["vocab_size"]:
        room = cfg["text_cfg"]["vocab_size"]
        raise ValueError(f"{architecture}: room for {room} tokens, but the vocabulary has {len(tokenizer.ids)}")
    if state is None and pretrained is not None:
        state = load_checkpoint(pretrained)
    model = _build(cfg, seed)
    if state is not None:
        _load(model, state, architecture)
    return Clip(
        model=model.eval(),
        tokenizer=tokenizer,
        size=cfg["vision_cfg"]["image_size"],
        mean=tuple(preprocess.get("mean", (0.5, 0.5, 0.5))),
        std=tuple(preprocess.get("std", (0.5, 0.5, 0.5))),
        resize=preprocess.get("resize_mode", "shortest"),
        interpolation=preprocess.get("interpolation", "bicubic"),
    )


def _architecture(name: str) -> dict[str, Any]:
    path = Path(name) if name.endswith(".json") else MODELS / "architectures" / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in (MODELS / "architectures").glob("*.json")))
        raise FileNotFoundError(f"architecture {name!r} is unknown; there are {known}, or give a path to a .json")
    return json.loads(path.read_text())


def _build(cfg: dict[str, Any], seed: int) -> torch.nn.Module:
    kind = open_clip.CustomTextCLIP if cfg.get("custom_text") else open_clip.CLIP
    arguments = {key: value for key, value in cfg.items() if key != "custom_text"}
    with torch.random.fork_rng(devices=[]):  # open_clip draws its initial weights from torch's own generator
        torch.manual_seed(seed)
        return kind(**arguments)


def _load(model: torch.nn.Module, state: dict[str, torch.Tensor], architecture: str) -> None:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit architecture {architecture!r}: {error}") from error
