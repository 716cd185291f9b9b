"""Embed labelled images and their classes: what a notebook and the console command call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reliquant.evaluation.features import Features
from reliquant.evaluation.zero_shot import image_features, logit_scale_and_bias, text_head
from reliquant.images.prepare import Prepared
from reliquant.models.clip import Clip

TEMPLATES = ("a photo of a {}.",)


def embed_images(
    clip: Clip,
    images: Prepared,
    /,
    *,
    templates: Sequence[str] = TEMPLATES,
    beside: Features | None = None,
    logit_scale: float | None = None,
    batch: int = 256,
    device: str = "cpu",
) -> Features:
    """Embed images (n, h, w, 3) and their classes as unit rows, with the model's own logit scale and bias.

    The classes become prompts by `templates`, each of which holds {} for the class. `logit_scale`, such as a tuned one,
    takes the place of the model's own. With `beside`, the features of other images, the images are out of
    distribution: the classes and the scale are those of `beside`, and all labels are -1. The model's tensors must be
    on `device`. Raises ValueError where the images have no classes.
    """
    if beside is None and not images.meta["classes"]:
        raise ValueError(f"{images.meta['entry']}: has no classes to tell apart")
    image = image_features(clip, images.images, batch=batch, device=device)
    if beside is not None:
        labels = np.full(len(image), -1)
        return Features(image, beside.text, labels, beside.logit_scale, beside.logit_bias)
    own_scale, bias = logit_scale_and_bias(clip)
    text = text_head(clip, images.meta["classes"], list(templates), device=device)
    return Features(image, text, images.labels, own_scale if logit_scale is None else logit_scale, bias)
