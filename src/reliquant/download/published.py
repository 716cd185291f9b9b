"""What the installed open_clip publishes: its architectures and their pretrained tags, free of torch.

`import open_clip` takes seconds, because it imports torch; a config is checked in milliseconds. So the architectures
are read from its JSON files, and its table of tags, a module that needs nothing else, is imported alone. Where
open_clip has been imported, it is asked itself: it may have learned of more architectures since.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from reliquant.files.bounded import read_json

ALONE = "_reliquant_open_clip"  # the name under which the table is imported, as if its package were this
NOT_NEEDED = ("safetensors.torch", "huggingface_hub")  # what the table imports for downloads, if it is there


def architectures() -> list[str]:
    """List the names of open_clip's architectures."""
    loaded = _loaded()
    return sorted(loaded.list_models() if loaded else _descriptions())


def description(architecture: str, /) -> dict[str, Any] | None:
    """Return open_clip's own description of an architecture, None where it has none of that name."""
    if ":" in architecture:
        return None
    if loaded := _loaded():
        return loaded.get_model_config(architecture)
    path = _descriptions().get(architecture)
    return read_json(path) if path else None


def tags(architecture: str, /) -> dict[str, Mapping[str, Any]]:
    """Return what is published of an architecture, by tag: where, and the preprocessing it was trained with."""
    table = _loaded() or _table()
    return {
        tag: table.get_pretrained_cfg(architecture, tag) for tag in table.list_pretrained_tags_by_model(architecture)
    }


def tag(architecture: str, name: str | None, /) -> Mapping[str, Any]:
    """Return what is published under a tag, however its name is written; empty where there is no such tag."""
    return (_loaded() or _table()).get_pretrained_cfg(architecture, name) if name else {}


def architectures_of(name: str, /) -> list[str]:
    """List the architectures that have a tag of this name."""
    return (_loaded() or _table()).list_pretrained_models_by_tag(name)


def _loaded() -> Any:
    """Return open_clip where it has been imported whole, else None."""
    module = sys.modules.get("open_clip")
    return module if hasattr(module, "list_pretrained_models_by_tag") else None


@cache
def _folder() -> Path:
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise ValueError("open_clip is not installed: pip install open_clip_torch")
    return Path(spec.origin).parent


@cache
def _descriptions() -> dict[str, Path]:
    """Find the JSON files of the architectures, by name, as open_clip does."""
    found = {}
    for path in (_folder() / "model_configs").glob("*.json"):
        if read_json(path).keys() >= {"embed_dim", "vision_cfg", "text_cfg"}:
            found[path.stem] = path
    return found


@cache
def _table() -> Any:
    package = types.ModuleType(ALONE)
    package.__path__ = [str(_folder())]
    with _in_place_of({ALONE: package, **dict.fromkeys(NOT_NEEDED)}):
        module = importlib.import_module(f"{ALONE}.pretrained")
    for name in [name for name in sys.modules if name.startswith(f"{ALONE}.")]:
        del sys.modules[name]
    return module


@contextmanager
def _in_place_of(modules: Mapping[str, types.ModuleType | None]) -> Iterator[None]:
    """Let other modules stand for those of these names while the block runs; None: they cannot be imported."""
    before = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        sys.modules.update(before)
