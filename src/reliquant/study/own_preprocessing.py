"""The preprocessing of a model before its weights are read: what its tag, its family, its config or its entry say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reliquant import plugins
from reliquant.download import published
from reliquant.files.bounded import read_json
from reliquant.study.preprocessing import (
    DEFAULT,
    KEYS,
    WORDS,
    Config,
    Preprocessing,
    described,
    differences,
    read_preprocessing,
    shown,
)

SMALL: Config = {"mean": 0.5, "std": 0.5}  # what a description of tower small means where it says nothing
LOCAL = "local-dir:"


def config_of(
    architecture: str, pretrained: str | None, words: Config, own: Config | None = None, /
) -> tuple[Config, list[str]]:
    """Return the preprocessing config of an open_clip model, and what a person should know of it, a line each.

    The entry's own `words` win. Beneath them stands the config `own` of a local folder or a hub's repository, else what
    the tag was trained with, else what all published tags of the architecture agree on, else open_clip's default.
    """
    words = {word: value for word, value in words.items() if value is not None and word in WORDS}
    if own is not None:
        lacking = [word for word in WORDS[:-1] if own.get(word) is None and word not in words]
        notes = [f"its config says no {', '.join(lacking)}: open_clip's default is used"] if lacking else []
        return {**own, **words}, notes + _overruled(words, own, "its config")
    tag = _preprocessing(published.tag(architecture, pretrained))
    if tag:
        return {**tag, **words}, _overruled(words, tag, f"the tag {pretrained}")
    return _of_family(architecture, words)


def _preprocessing(facts: Config) -> Config:
    """Keep of what is published under a tag what it says of preprocessing."""
    return {key: value for key, value in facts.items() if key in KEYS}


def _overruled(words: Config, beneath: Config, whose: str) -> list[str]:
    said = {word: value for word, value in words.items() if beneath.get(word) is not None}
    told = differences({**beneath, **said}, beneath)
    return [f"the entry's own words are used, which differ from {whose}: {'; '.join(told)}"] if told else []


def _of_family(architecture: str, words: Config) -> tuple[Config, list[str]]:
    """Return what an entry's words, and the tags of its architecture, say of weights that are no tag's."""
    tags = {name: _preprocessing(facts) for name, facts in published.tags(architecture).items()}
    kinds: dict[str, Config] = {described(facts): facts for facts in reversed(tags.values())}
    family = next(iter(kinds.values())) if len(kinds) == 1 else DEFAULT
    config, notes = {**family, **words}, []
    open_words = [word for word in WORDS[:-1] if word not in words and _is_open(word, list(kinds.values()))]
    if open_words:
        why = f"the published tags differ ({_apart(tags)})" if kinds else "nothing is published of it"
        default = ", ".join(f"{word}: {shown(DEFAULT[word])}" for word in open_words)
        say = f"its entry may say {', '.join(open_words)}"
        notes.append(f"preprocessed by open_clip's default, {default}, because {why}; {say}")
    elif not words and differences(family, DEFAULT):
        which = f"its only tag {next(iter(tags))}" if len(tags) == 1 else f"its {len(tags)} tags"
        notes.append(f"preprocessed as {which} published: {described(family)}")
    apart = {name: differences(config, facts) for name, facts in tags.items()}
    if words and tags and all(apart.values()):
        nearest = min(apart, key=lambda name: len(apart[name]))
        told = "; ".join(apart[nearest])
        notes.append(f"its preprocessing is that of no published tag; the nearest is {nearest}, but {told}")
    return config, notes


def _is_open(word: str, kinds: list[Config]) -> bool:
    """Whether the published preprocessing of an architecture leaves a word open: nothing published, or no agreement."""
    return not kinds or any(word in difference for other in kinds for difference in _keys(kinds[0], other))


def _keys(one: Config, other: Config) -> list[str]:
    return [told.partition(" ")[0] for told in differences(one, other)]


def _apart(tags: Mapping[str, Config]) -> str:
    """Say which tags differ from open_clip's default, and in what."""
    told = {name: "; ".join(differences(facts, DEFAULT)) for name, facts in tags.items()}
    return " | ".join(f"{name}: {difference}" for name, difference in told.items() if difference)


def known_preprocessing(entry: Mapping[str, Any], /) -> Preprocessing | None:
    """Return the preprocessing that the tower of a model's entry will have, None where only its weights tell.

    Raises ValueError where what is known of it cannot be.
    """
    architecture = str(entry.get("architecture"))
    if entry.get("tower") == "small":
        config = small_description(architecture)
        if config is None:
            return None
        model = config.get("model_cfg", config)
        own = {**SMALL, **config.get("preprocess_cfg", {})}
        return read_preprocessing(own, model["vision_cfg"]["image_size"], f"architecture {architecture!r}")
    if entry.get("tower") != "openclip":
        return None
    of_folder: Mapping[str, Any] | None = None
    description = published.description(architecture)
    if architecture.startswith(LOCAL):
        path = Path(architecture.removeprefix(LOCAL)) / "open_clip_config.json"
        written = read_json(path) if os.path.isfile(path) else {}
        of_folder, description = written.get("preprocess_cfg") or {}, written.get("model_cfg")
    if description is None:
        return None
    known, _ = config_of(architecture, entry.get("pretrained"), entry, of_folder)
    size = description["vision_cfg"].get("image_size", 224)
    return read_preprocessing(known, size, f"architecture {architecture!r}")


def small_description(architecture: str, /) -> dict[str, Any] | None:
    """Return the JSON that describes an architecture of tower small: the package's, or a path; None without one.

    Raises ValueError naming a file that describes no model.
    """
    inside = plugins.PACKAGE / "models" / "architectures" / f"{architecture}.json"
    path = Path(architecture) if architecture.endswith(".json") else inside
    if not os.path.isfile(path):  # unlike Path.is_file, it takes names that no file can have
        return None
    config = read_json(path)
    model = config.get("model_cfg", config) if isinstance(config, dict) else None
    for part in ("embed_dim", "vision_cfg", "text_cfg"):
        if not isinstance(model, dict) or part not in model:
            raise ValueError(f"{path}: describes no model: it needs embed_dim, vision_cfg, text_cfg, as open_clip's do")
    return config
