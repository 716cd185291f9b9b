"""Open the model that a person names, in a notebook or on a command line."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import yaml

from reliquant import plugins
from reliquant.download import published
from reliquant.files.artifacts import DamagedFile, read_header
from reliquant.files.bounded import load_yaml
from reliquant.models.check import check_model
from reliquant.models.clip import Clip
from reliquant.models.files import load_model, trusted_entry
from reliquant.models.shipped.weights import checkpoint_table
from reliquant.names import module_problem
from reliquant.progress import say
from reliquant.study.config import own_words
from reliquant.study.model_entries import NO_WEIGHTS, RANDOM, SCHEMES, names_weights, tower_problems


def own_file(word: str, /) -> Path | None:
    """Return the path of a model that this project wrote, None where a word names none.

    Raises FileNotFoundError for a .safetensors file that is not there, DamagedFile for one that somebody else wrote and
    that no architecture stands before.
    """
    path = Path(word)
    if path.suffix != ".safetensors" or (not path.is_file() and _architecture_before(word)):
        return None
    try:
        read_header(path)
    except DamagedFile as error:
        if _architecture_before(word):
            return None
        if "no reliquant header" not in str(error):
            raise
        raise DamagedFile(f"{error}; for weights of open_clip name the architecture, too: ViT-B-32/{word}") from error
    return path


def tower_entry(word: str, /) -> dict[str, Any]:
    """Return the tower entry that a word names.

    It is an entry of a study's `models` in YAML (`{tower: ..., architecture: ...}`), a shipped checkpoint,
    `hf-hub:owner/name`, `local-dir:folder` or the folder alone, a tower plugin's module (`my_package.my_tower`), or
    `architecture[/tag or file]` of open_clip. Raises ConfigError saying what is wrong with the entry, ValueError for a
    file of weights without an architecture.
    """
    if word.lstrip().startswith("{"):
        return _written_entry(word)
    if word in checkpoint_table():
        return {**checkpoint_table()[word]["tower"], "pretrained": word}
    if word.startswith(SCHEMES):
        return {"tower": "openclip", "architecture": word}
    architecture, _, pretrained = word.partition("/")
    if published.description(architecture) is None:
        if Path(word).is_dir() and word:
            return {"tower": "openclip", "architecture": f"local-dir:{word}"}
        if Path(word).is_file():
            raise ValueError(f"{word}: is a file; name the architecture of its weights, too, such as ViT-B-32/{word}")
        if _is_module(word):
            return {"tower": word}
        if not architecture or architecture.startswith("."):
            raise FileNotFoundError(f"{word or '(nothing)'}: no such file or folder")
    return {"tower": "openclip", "architecture": architecture, **({"pretrained": pretrained} if pretrained else {})}


def opened_entry(word: str, /, *, random_weights: bool = False) -> dict[str, Any]:
    """Return the tower entry that a word names, with weights to be drawn at random where that is asked for.

    Raises ValueError where it names no weights and random ones are not asked for, or where both are.
    """
    entry = tower_entry(word)
    if random_weights and names_weights(entry):
        raise ValueError(f"{word}: names weights, and random ones are asked for: leave out one of the two")
    if not random_weights and not names_weights(entry):
        wrong = next(tower_problems(entry), NO_WEIGHTS)
        raise ValueError(f"{word}: {wrong}")
    return {**entry, "pretrained": RANDOM} if random_weights else entry


def open_model(word: str, /, *, random_weights: bool = False, tower: str | None = None) -> Clip:
    """Load a model, on the CPU and in evaluation mode, and check that it can embed an image and a caption.

    `word` is a .safetensors file that this project wrote, a shipped checkpoint (`lab-vit-curated`), an open_clip
    architecture with a pretrained tag or a checkpoint file (`ViT-B-32/laion2b_e16`, `ViT-B-32/mine.pt`),
    `hf-hub:owner/name`, `local-dir:folder`, a tower plugin's module, or an entry as in a study's config (YAML).
    `random_weights` draws the weights of an architecture that is named alone; without it such a model is refused.
    `tower` is the module of a tower plugin that a .safetensors file may name: to open it is to run that module.
    Raises ValueError naming the word and what is wrong.
    """
    path = own_file(word)
    if path is not None:
        if random_weights:
            raise ValueError(f"{word}: holds weights, and random ones are asked for: leave out one of the two")
        clip, header = load_model(path, tower=tower)
        if header["tower"].get("pretrained") == RANDOM:
            say(word, "its weights are random: it was made so on request")
    else:
        clip = plugins.load("tower", opened_entry(word, random_weights=random_weights))(None)
    check_model(clip, word)
    return clip


def open_shapes(word: str, /, *, tower: str | None = None) -> Clip | None:
    """Open the model that a word names by its shapes (`shapes_of`); `tower` is what `open_model` takes."""
    own = own_file(word)
    return shapes_of(tower_entry(word) if own is None else trusted_entry(own, read_header(own), tower))


def shapes_of(entry: Mapping[str, Any], /) -> Clip | None:
    """Make a tower by its entry without its weights, on the meta device, where its size does not matter.

    None where the tower does not take `pretrained: random`, or cannot be built there.
    """
    try:
        with torch.device("meta"), redirect_stderr(StringIO()):  # which says that the weights are drawn
            return plugins.load("tower", {**entry, "pretrained": RANDOM})(None)
    except Exception:  # whatever it is, opening the model with its weights will say
        return None


def takes_weights(word: str, /) -> bool:
    """Whether a word names the weights of its model, and not an architecture alone."""
    return own_file(word) is not None or names_weights(tower_entry(word))


def _architecture_before(word: str) -> bool:
    architecture, slash, _ = word.partition("/")
    return bool(slash) and published.description(architecture) is not None


def _is_module(word: str) -> bool:
    return not module_problem(word) and plugins.file_of(word) is not None


def _written_entry(word: str) -> dict[str, Any]:
    try:
        entry = load_yaml(word)
    except yaml.YAMLError as error:
        raise plugins.ConfigError([f"{word}: no YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(entry, Mapping):
        raise plugins.ConfigError([f"{word}: must be an entry such as {{tower: openclip, architecture: ViT-B-32}}"])
    entry = own_words("models", entry)
    if problems := plugins.check("tower", entry):
        raise plugins.ConfigError(f"{word}: {problem}" for problem in problems)
    return entry
