"""Tune the logit scale of a model on pairs that no variant has seen, FP32's on the same ones, and say how well."""

from __future__ import annotations

from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from reliquant.models.clip import Clip
from reliquant.progress import say
from reliquant.quantization.logit_scale import Objective, scale_error, tune_logit_scale
from reliquant.quantization.proxy import Proxy, embed_all

Tuning = Literal["none", "contrastive", "match_fp32"]
Embeddings = tuple[NDArray[np.float32], NDArray[np.float32], float]  # image and text (n, d), logit scale


class Tuned(TypedDict):
    """Say how a logit scale was tuned, as the header of a variant holds it."""

    objective: Objective
    scale: float
    error: float | None  # standard error of the scale; None where it came to the end of its range
    native: float  # the model's own scale
    pairs: int  # held-out ones
    captions: int  # different ones among them


def embedded(clip: Clip, pairs: Proxy, /) -> Embeddings:
    """Return image and text embeddings of all pairs, and the logit scale."""
    found = embed_all(clip, pairs)
    return found.image.cpu().numpy(), found.text.cpu().numpy(), found.logit_scale.item()


def tune(clip: Clip, held_out: Proxy, objective: Objective, /, *, fp32: Embeddings | None = None) -> Tuned:
    """Tune the logit scale of a model; without `fp32`, the embeddings of its FP32 model, it is the FP32 model."""
    return tuned_embeddings(embedded(clip, held_out), held_out, objective, fp32)


def tuned_embeddings(own: Embeddings, held_out: Proxy, objective: Objective, fp32: Embeddings | None, /) -> Tuned:
    """Tune the logit scale to embeddings of the held-out pairs; to those of FP32, `fp32` None, FP32's own scale."""
    image, text, native = own
    captions = held_out.caption_ids.numpy()
    words = {"objective": objective, "fp32": own if fp32 is None else fp32}
    scale = tune_logit_scale(image, text, captions, native, **words)
    error = scale_error(image, text, captions, native, scale, **words)
    if error is None:
        say("tuning", f"warning: the tuned logit scale, {scale:.4g}, is at the end of its range around {native:.4g}")
    counts = {"pairs": len(captions), "captions": len(np.unique(captions))}
    return Tuned(objective=objective, scale=scale, error=error, native=native, **counts)
