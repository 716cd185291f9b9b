"""The files that describe a model beside its weights: what its outputs depend on, and who changes them changes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reliquant.files.digests import AGAIN, DamagedFile, digest_of_file
from reliquant.study.placed_files import is_file, named_by_words

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz", ".h5", ".msgpack", ".onnx")  # they are in the model


def describing_files(entry: Mapping[str, Any], /) -> dict[str, str]:
    """Return the digests of the files, but weights, that a tower's entry names: by word, or word/name in a folder.

    They are such as the JSON of an architecture, a list of words, or the configs and tokenizers of a local folder.
    """
    words = {word: value for word, value in entry.items() if word != "pretrained"}
    named = [(name, path) for name, path in named_by_words(words, "tower") if is_file(path)]
    return {name: digest_of_file(path) for name, path in named if path.suffix.lower() not in WEIGHTS}


def require_same_files(path: Path, header: Mapping[str, Any], /) -> None:
    """Raise DamagedFile unless the files that a model's header tells of are those that lie there.

    The header of a model of an earlier version tells of none, and passes; whoever builds the tower misses what is gone.
    """
    built, entry = header.get("built_from"), header.get("tower")
    if not isinstance(built, dict) or not isinstance(entry, dict):
        return
    then, now = built.get("files"), describing_files(entry)
    if not isinstance(then, dict) or (now and now != then):
        known = then if isinstance(then, dict) else {}
        other = sorted(name for name in {*known, *now} if known.get(name) != now.get(name))
        told = ", ".join(f"{name} ({entry.get(name.partition('/')[0])})" for name in other[:3])
        raise DamagedFile(f"{path}: was built from other files: {told} changed since it was made; {AGAIN}")
