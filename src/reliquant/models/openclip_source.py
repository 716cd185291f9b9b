"""Where an open_clip model comes from: its description and preprocessing, and the model they build, without weights."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reliquant.download import published
from reliquant.files.bounded import read_json
from reliquant.models.dispatch import DispatchMode
from reliquant.models.openclip import open_clip

CONFIG = "open_clip_config.json"
LOCAL = "local-dir:"
RUNS_CODE = ("trust_remote_code", "code_revision")  # what asks transformers for code that a repository brings along
DRAWING = {torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default}  # what torch.nn.init draws by


@dataclass(frozen=True)
class Source:
    """Hold what open_clip calls a model, how it describes it, and the preprocessing that a folder's config says.

    `folder` and `preprocessing` are None for an architecture of open_clip's own.
    """

    name: str
    description: Mapping[str, Any]
    folder: Path | None = None
    preprocessing: Mapping[str, Any] | None = None


def of_architecture(name: str, /) -> Source:
    """Return an architecture of open_clip's own, which must be there."""
    return Source(name, published.description(name) or {})


def of_folder(folder: Path, /) -> Source:
    """Return the model that a folder describes; raise FileNotFoundError or ValueError naming its config."""
    path = folder / CONFIG
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; open_clip needs it beside the weights")
    config = read_json(path)
    description = config.get("model_cfg") if isinstance(config, Mapping) else None
    preprocessing = (config.get("preprocess_cfg") or {}) if isinstance(config, Mapping) else None
    parts = description.keys() if isinstance(description, Mapping) else ()
    for part in ("embed_dim", "vision_cfg", "text_cfg"):
        if part not in parts:
            raise ValueError(f"{path}: has no model_cfg with {part}; it needs embed_dim, vision_cfg, text_cfg")
    text = description["text_cfg"]
    tokenizer = text.get("tokenizer_kwargs") if isinstance(text, Mapping) else None
    if isinstance(tokenizer, Mapping) and not tokenizer.keys().isdisjoint(RUNS_CODE):
        told = f"{' and '.join(RUNS_CODE)} would run code of others: leave them out"
        raise ValueError(f"{path}: text_cfg.tokenizer_kwargs: {told}")
    if not isinstance(preprocessing, Mapping):
        raise ValueError(f"{path}: preprocess_cfg: must be a mapping, got {preprocessing!r}")
    return Source(f"{LOCAL}{folder}", description, folder, preprocessing)


def built(source: Source, /, *, cache: str | None, seed: int | None, draws: bool = True) -> nn.Module:
    """Build the model with weights drawn at random, from torch's own generator as it stands or from a seed.

    Where all of them are loaded afterwards, `draws=False` leaves out the drawing, which takes longer than all the rest.
    It lies on torch's default device: under `with torch.device("meta")` it has shapes and no weights. Raises ValueError
    where open_clip cannot build what the description says.
    """
    words = {"load_weights": False, "pretrained_text": False, "cache_dir": cache}
    words["device"] = torch.get_default_device()
    draws = draws and torch.get_default_device().type != "meta"
    drawn = torch.random.fork_rng(devices=[], enabled=seed is not None) if draws else _Undrawn()
    with _quiet(), _naming(source, "open_clip cannot build it"), drawn:
        if seed is not None:
            torch.manual_seed(seed)
        model = open_clip.create_model(source.name, **words)
    refuse_naflex(model, source.name)
    return model


def refuse_naflex(model: nn.Module, name: str, /) -> None:
    """Raise ValueError for a model of images of any shape: on squares it would give a plausible number."""
    if any(type(module).__name__ == "NaFlexVit" for module in model.modules()):
        told = "is a NaFlex model, which takes images of any shape in patches; here images have one size and shape"
        raise ValueError(f"{name}: {told}: take its sibling of a fixed size")


def tokenizer_of(source: Source, /, *, cache: str | None) -> Callable[[list[str]], torch.Tensor]:
    """Return the tokenizer that open_clip has for a model; raise ValueError or OSError naming the model without one.

    That of an architecture is made once: to read its vocabulary takes longer than to build a small model.
    """
    with _quiet(), _naming(source, "open_clip finds no tokenizer for it"):
        if source.folder is not None:
            return open_clip.get_tokenizer(source.name, cache_dir=cache)
        return _tokenizer(source.name, json.dumps(source.description.get("text_cfg")), cache)


@functools.cache
def _tokenizer(architecture: str, text: str, cache: str | None) -> Callable[[list[str]], torch.Tensor]:
    """Make the tokenizer of an architecture, whose text tower is described in JSON."""
    return open_clip.get_tokenizer(architecture, cache_dir=cache)


class _Undrawn(DispatchMode):
    """Leave tensors as they are where random numbers would be drawn into them, and make new ones of zeros."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in DRAWING:
            return args[0]
        func = torch.ops.aten.zeros.default if func is torch.ops.aten.randn.default else func
        return func(*args, **(kwargs or {}))


@contextmanager
def _naming(source: Source, what: str) -> Iterator[None]:
    """Put the model's name before what open_clip, timm and transformers raise, which check nothing of a description."""
    try:
        yield
    except OSError as error:  # mostly of a hub: it says what it lacks
        raise OSError(f"{source.name}: {what}: {' '.join(str(error).split())}") from error
    except Exception as error:
        told = " ".join(str(error).split()) or "no reason given"
        raise ValueError(f"{source.name}: {what}: {type(error).__name__}: {told}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from warning of "random" weights that are loaded a line later."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
