"""Which device a step runs on."""

from __future__ import annotations

import torch


def choose(word: str, /) -> str:
    """Return the device for `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`; raise ValueError if absent."""
    if word == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=word)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {word!r} is not to be had here: {str(error).splitlines()[0]}") from error
    return word
