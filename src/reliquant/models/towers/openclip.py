"""Any open_clip model: an architecture with a pretrained tag or file, a hub repository, or a local folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from reliquant.download import published
from reliquant.download.hub import WEIGHTS, hub_folder, weights_in
from reliquant.models.checkpoint import sharded
from reliquant.models.clip import Clip, with_preprocessing
from reliquant.models.openclip_source import LOCAL, Source, built, of_architecture, of_folder, tokenizer_of
from reliquant.models.openclip_weights import load_file
from reliquant.models.state import load_state
from reliquant.progress import say
from reliquant.study.model_entries import RANDOM, activation_note, openclip_problem
from reliquant.study.own_preprocessing import config_of
from reliquant.study.preprocessing import read_preprocessing

HUB = "hf-hub:"


def tower(
    state: dict[str, torch.Tensor] | None,
    /,
    *,
    architecture: str,
    pretrained: str | None = None,
    seed: int = 0,
    mean: float | list[float] | None = None,
    std: float | list[float] | None = None,
    interpolation: str | None = None,
    resize_mode: str | None = None,
    fill_color: int | list[int] | None = None,
    cache: str | None = None,
    revision: str | None = None,
) -> Clip:
    """Build `architecture` (`ViT-B-32`, `hf-hub:org/repo`, `local-dir:folder`) and load `state`, else its weights.

    `pretrained` is a tag of open_clip's table, the path of a checkpoint (a state dict as safetensors or by torch.save,
    read without running any code), or `random`, drawn from `seed`. `mean`, `std`, `interpolation`, `resize_mode` and
    `fill_color` overrule the preprocessing of the tag, of the family or of the folder's config. `revision` is a commit
    of the repository on the hub. What is assumed or changed on the way is said, and in the facts of the Clip.
    Raises ValueError when the architecture or tag is unknown (naming what there is), when the tag was trained with
    another activation, when the tokenizer needs transformers, for preprocessing that open_clip does not know, for
    weights that do not fit; DamagedFile for a file that holds no weights; FetchError when they cannot be fetched.
    """
    if problem := openclip_problem(architecture, pretrained if state is None else None):
        raise ValueError(problem)
    source = _source(architecture, cache, revision)
    _check_transformers(source)
    words = {"mean": mean, "std": std, "interpolation": interpolation, "resize_mode": resize_mode}
    config, notes = config_of(architecture, pretrained, {**words, "fill_color": fill_color}, source.preprocessing)
    draws = state is None and pretrained == RANDOM
    model = built(source, cache=cache, seed=seed if draws else None, draws=state is None)
    size = getattr(model.visual, "image_size", config.get("size", 224))
    found = read_preprocessing(config, size, f"architecture {architecture!r}")
    facts: dict[str, Any] = {"mean": found.mean, "std": found.std}
    if state is not None:
        load_state(model, state, f"architecture {architecture!r}")
    elif draws:
        say(architecture, f"its weights are random, drawn from seed {seed}")
    elif pretrained or source.folder:
        path = _weights_file(source, architecture, pretrained, cache, revision)
        activation = [activation_note(architecture, pretrained)] if pretrained else []
        notes = [*notes, *found.doubts, *filter(None, activation)]
        facts["read"] = [*notes, *_told(path, load_file(model, path))]
        for note in facts["read"]:
            say(architecture, note)
    return with_preprocessing(model, tokenizer_of(source, cache=cache), found, facts)


def _told(path: Path, notes: list[str]) -> list[str]:
    return [f"read {path.name}: {'; '.join(notes)}"] if notes else []


def weights(
    *, architecture: str, pretrained: str | None = None, cache: str | None = None, revision: str | None = None
) -> Path | None:
    """Fetch the published weights of an entry and return their path; None for weights that are on no hub.

    Raises ValueError where the architecture needs transformers, before anything is fetched.
    """
    if ":" not in architecture:
        _check_transformers(of_architecture(architecture))
    repository, names = _on_hub(architecture, pretrained)
    if not repository:
        return None
    return weights_in(hub_folder(repository, names=names, revision=revision, cache=cache), names)


def _on_hub(architecture: str, pretrained: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the repository of an entry's published weights, "" without one, and the names that the file may have."""
    if architecture.startswith(HUB):
        return architecture.removeprefix(HUB), WEIGHTS
    repository, _, name = published.tag(architecture, pretrained).get("hf_hub", "").rpartition("/")
    return repository, (f"{name.rpartition('.')[0]}.safetensors", name) if name else WEIGHTS


def _source(architecture: str, cache: str | None, revision: str | None) -> Source:
    """Find what describes a model: open_clip itself, a folder, or a hub's repository, which becomes a folder."""
    if architecture.startswith(HUB):
        return of_folder(hub_folder(architecture.removeprefix(HUB), revision=revision, cache=cache))
    if architecture.startswith(LOCAL):
        return of_folder(Path(architecture.removeprefix(LOCAL)))
    return of_architecture(architecture)


def _weights_file(
    source: Source, architecture: str, pretrained: str | None, cache: str | None, revision: str | None
) -> Path:
    """Return the file of the weights: a tag's, a folder's, or the user's own."""
    if source.folder is not None:
        return _in_folder(source.folder)
    tag = published.tag(architecture, pretrained)
    if not tag:
        return Path(str(pretrained))
    path = weights(architecture=architecture, pretrained=pretrained, cache=cache, revision=revision)
    if path is None:
        where, names = tag.get("hf_hub") or tag.get("url"), ", ".join(_on_hub(architecture, pretrained)[1])
        raise FileNotFoundError(f"{architecture}/{pretrained}: published at {where}, where none of {names} was found")
    return path


def _in_folder(folder: Path) -> Path:
    """Return the weights of a folder: the file that open_clip would read, or the only one whatever its name."""
    path = weights_in(folder)
    if path is not None:
        return path
    others = [path for path in sorted(folder.iterdir()) if path.suffix in (".safetensors", ".bin", ".pth", ".pt")]
    if len(others) == 1:
        say(str(folder), f"its weights are taken to be {others[0].name}")
        return others[0]
    for path in others:
        if told := sharded(path.name):
            raise FileNotFoundError(f"{folder}: holds no weights in one file: {path.name} {told}")
    there = f"; which of {', '.join(path.name for path in others)} they are is not known" if others else ""
    raise FileNotFoundError(f"{folder}: holds no weights: no file {' or '.join(WEIGHTS)}{there}")


def _check_transformers(source: Source) -> None:
    """Raise ValueError where the tokenizer or text tower is one of transformers, and transformers is not installed."""
    words = source.description.get("text_cfg", {})
    if words.keys() & {"hf_tokenizer_name", "hf_model_name"} and find_spec("transformers") is None:
        raise ValueError(f"architecture {source.name!r} needs transformers: pip install 'reliquant[huggingface]'")
