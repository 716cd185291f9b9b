"""Open the model that a person names, in a notebook or on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reliquant import plugins
from reliquant.models.clip import Clip
from reliquant.models.files import load_model
from reliquant.models.shipped.weights import checkpoint_table


def tower_entry(word: str, /) -> dict[str, Any]:
    """Return the tower entry of a shipped checkpoint, `hf-hub:owner/name` or `architecture[/tag or file]`."""
    if word in checkpoint_table():
        return {**checkpoint_table()[word]["tower"], "pretrained": word}
    if ":" in word:
        return {"tower": "openclip", "architecture": word}
    architecture, _, pretrained = word.partition("/")
    return {"tower": "openclip", "architecture": architecture, **({"pretrained": pretrained} if pretrained else {})}


def open_model(word: str, /) -> Clip:
    """Load a model, on the CPU and in evaluation mode.

    `word` is a .safetensors file that this project wrote, a shipped checkpoint (`lab-vit-curated`), an open_clip
    architecture with or without a pretrained tag or file (`ViT-B-32/openai`), or `hf-hub:owner/name`.
    """
    if word.endswith(".safetensors"):
        return load_model(Path(word))[0]
    return plugins.load("tower", tower_entry(word))(None)
