"""Quantize one model on pairs of images and captions: what a notebook and the console command call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reliquant.files.artifacts import provenance, save_tensors, sha256_of_tensors
from reliquant.images.prepare import Prepared
from reliquant.layers.surgery import Scope
from reliquant.layers.variant import Arrays
from reliquant.models.clip import Clip
from reliquant.progress import say
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.held_out import Pairs, make_pairs
from reliquant.quantization.identity import run_identity
from reliquant.quantization.quantize import quantize
from reliquant.quantization.tuning import Tuning
from reliquant.study.config import HELD_OUT
from reliquant.study.scheme import scheme_entry


@dataclass(frozen=True)
class Quantized:
    """Hold a variant that is not on disk yet: its arrays by name, and all that its file says of itself.

    `facts` has `entry`, `labels`, `measures` (bytes, shares of weights and products that ran quantized), `coverage`,
    `words`, `logit_scale_tuned` (and that of FP32 on the same pairs, `logit_scale_tuned_fp32`), `tuned` and `pairs`.
    """

    arrays: Arrays
    facts: dict[str, Any]

    def save(self, path: Path, /, *, model_sha256: str) -> None:
        """Write the variant, whole or not at all; `model_sha256` is that of the FP32 model's file (`load_model`)."""
        save_tensors(Path(path), self.arrays, provenance(kind="variant", **self.facts, model_sha256=model_sha256))


def quantize_model(
    clip: Clip,
    scheme: str | Mapping[str, Any],
    precision: str,
    pairs: Prepared,
    /,
    *,
    scope: Scope = "image",
    number: int | None = 1000,
    seed: int = 0,
    tuning: Tuning | None = None,
    held_out: float = HELD_OUT,
    device: str = "cpu",
    saved: Checkpoints | None = None,
) -> Quantized:
    """Quantize a model in place on image-caption pairs and return the variant.

    `scheme` is a quantizer's name or an entry with its words, `precision` reads `w8a8`, `pairs` come from
    `open_images` and need captions, of which `number` are taken (None: all). A share of them, `held_out`, is
    neither calibrated nor trained on: the logit scale is tuned on it, by `contrastive` unless `tuning` names another
    objective; where nothing is named and these pairs are too few, none is tuned, and that is said. The model's tensors
    must be on `device`.
    Raises ConfigError for a wrong scheme or precision, ValueError for images without captions and for too few held-out
    pairs for the objective that is named.
    """
    entry = scheme_entry(scheme, precision)
    made = make_pairs(pairs, number, seed, device, held_out=held_out)
    if tuning is None:
        tuning = _suited(made)
    elif tuning != "none":
        made.require_tunable()
    saved = saved or Checkpoints()
    if saved.folder is not None:
        state = {name: value.detach().cpu().numpy() for name, value in clip.model.state_dict().items()}
        facts = {"scope": scope, "seed": seed, "tuning": tuning, "pairs": made.identity, "given": saved.run}
        facts["model_sha256"] = sha256_of_tensors(state)
        saved = replace(saved, run=run_identity(clip, device, entry, None, **facts))
    arrays, facts = quantize(clip, entry, scope, made.proxy, saved, tuning=tuning, held_out=made.held_out)
    return Quantized(arrays, {"entry": entry, "labels": {"scope": scope, "seed": seed}, **facts, "pairs": made.which})


def _suited(made: Pairs) -> Tuning:
    """Return the usual objective, or, where the held-out pairs are too few for it, none; say so."""
    try:
        made.require_tunable()
    except ValueError as reason:
        say("pairs", f"no logit scale is tuned: {reason}")
        return "none"
    return "contrastive"
