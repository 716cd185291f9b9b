"""Small CLIPs of open_clip's own classes with a word-level tokenizer: the models of the lab and of CIFAR-10."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import reliquant.models.convnext  # noqa: F401  registers the ConvNeXt that JSON files name
from reliquant.models.clip import Clip, with_preprocessing
from reliquant.models.openclip import open_clip
from reliquant.models.shipped.weights import load_checkpoint
from reliquant.models.state import load_state
from reliquant.models.tokenizer import WordTokenizer, read_words
from reliquant.progress import say
from reliquant.study.model_entries import RANDOM, unknown_small
from reliquant.study.own_preprocessing import SMALL, small_description
from reliquant.study.preprocessing import read_preprocessing

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
    checkpoint `pretrained` (its sha256 is checked), or random, drawn from `seed`; `pretrained: random` says that this
    is meant. The model is in eval mode.
    Raises FileNotFoundError (unknown architecture), ValueError (weights that do not fit, vocabulary too long),
    DamagedFile (truncated or altered checkpoint).
    """
    config = small_description(architecture)
    if config is None:
        raise FileNotFoundError(unknown_small(architecture))
    cfg = config.get("model_cfg", config)
    words = read_words(Path(vocabulary) if vocabulary else MODELS / "vocabulary.txt")
    tokenizer = WordTokenizer(words, context=cfg["text_cfg"]["context_length"])
    if len(tokenizer.ids) > cfg["text_cfg"]["vocab_size"]:
        room = cfg["text_cfg"]["vocab_size"]
        raise ValueError(f"{architecture}: room for {room} tokens, but the vocabulary has {len(tokenizer.ids)}")
    where = f"architecture {architecture!r}"
    preprocess = {**SMALL, **config.get("preprocess_cfg", {})}
    found = read_preprocessing(preprocess, cfg["vision_cfg"]["image_size"], where)
    if state is None and pretrained not in (None, RANDOM):
        state = load_checkpoint(pretrained)
    model = _build(cfg, seed)
    if state is not None:
        load_state(model, state, where)
    elif pretrained == RANDOM:
        say(architecture, f"its weights are random, drawn from seed {seed}")
    return with_preprocessing(model, tokenizer, found)


def _build(cfg: dict[str, Any], seed: int) -> torch.nn.Module:
    kind = open_clip.CustomTextCLIP if cfg.get("custom_text") else open_clip.CLIP
    arguments = {key: value for key, value in cfg.items() if key != "custom_text"}
    with torch.random.fork_rng(devices=[]):  # open_clip draws its initial weights from torch's own generator
        torch.manual_seed(seed)
        return kind(**arguments)
