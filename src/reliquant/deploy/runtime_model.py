"""A model whose towers are run by another runtime, in the place of the model that it was exported from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reliquant.deploy.folder import file_of, read_export
from reliquant.deploy.marking import TOWERS
from reliquant.deploy.runtimes import Runtime, Session, opened
from reliquant.files.artifacts import DamagedFile
from reliquant.models.clip import Clip


class RuntimeModel(nn.Module):
    """Encode images and captions by sessions, and by the original model where a tower was not exported."""

    def __init__(self, original: nn.Module, sessions: dict[str, Session], /) -> None:
        super().__init__()
        self.sessions = sessions
        self.logit_scale = original.logit_scale
        self.logit_bias = getattr(original, "logit_bias", None)
        self.original = None if set(sessions) == set(TOWERS) else original

    def encode_image(self, x: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Return the embeddings (n, d) of pixels (n, 3, h, w); an exported tower's are unit ones whatever is asked."""
        return self._encoded("image", x, normalize)

    def encode_text(self, tokens: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Return the embeddings (n, d) of tokens (n, context)."""
        return self._encoded("text", tokens, normalize)

    def _encoded(self, tower: str, x: torch.Tensor, normalize: bool) -> torch.Tensor:
        if tower not in self.sessions:
            return getattr(self.original, f"encode_{tower}")(x, normalize=normalize)
        return torch.from_numpy(self.sessions[tower].run(x.contiguous().numpy()))


def require_export_of(folder: Path, export: Mapping[str, Any], model_sha256: str, variant_sha256: str, /) -> None:
    """Raise DamagedFile unless a folder was exported from this model and this variant (empty: FP32)."""
    if (export["variant_sha256"], export["model_sha256"]) != (variant_sha256, model_sha256):
        what = "variant or model" if variant_sha256 else "model, or from a variant"
        raise DamagedFile(f"{folder}: was exported from another {what}; export it again")


def told_of_runs(folder: Path, runs: Mapping[str, Mapping[str, Any]], /) -> str:
    """Say in a line what runs each exported tower, and how many of its products by weights in which type."""
    towers = []
    for tower, facts in runs.items():
        layers = ", ".join(f"{number} in {kind}" for kind, number in sorted(facts["layers"].items()))
        towers.append(f"{tower} tower {layers}")
    facts = next(iter(runs.values()))
    return f"{folder} runs in {facts['runtime']} {facts['version']} ({facts['provider']}): {'; '.join(towers)}"


def with_runtime(clip: Clip, folder: Path, runtime: Runtime, /, *, threads: int = 0) -> tuple[Clip, dict[str, Any]]:
    """Return a model whose exported towers are run by a runtime, and facts: of the export, and by tower what runs it.

    `clip` is the variant (or FP32 model) that was exported. Raises what `read_export` and `opened` raise.
    """
    facts = read_export(folder)
    sessions = {tower: opened(file_of(folder, facts, tower), runtime, threads=threads) for tower in facts["towers"]}
    model = RuntimeModel(clip.model, sessions).eval()
    told = {"export": facts, "runs": {tower: session.facts for tower, session in sessions.items()}}
    changed = replace(clip, model=model)
    vars(changed)["parts"] = clip.parts
    return changed, told
