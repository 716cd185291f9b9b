"""Embed labelled images and their classes: what a notebook and the console command call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reliquant.evaluation.features import Features
from reliquant.evaluation.zero_shot import image_features, logit_scale_and_bias, text_head
from reliquant.images.dataset import require_labels
from reliquant.images.prepare import Prepared
from reliquant.models.clip import Clip
from reliquant.study.prompts import template_problems


def embed_images(
    clip: Clip,
    images: Prepared,
    /,
    *,
    templates: Sequence[str] | None = None,
    beside: Features | None = None,
    logit_scale: float | None = None,
    batch: int = 256,
    device: str = "cpu",
) -> Features:
    """Embed images (n, h, w, 3) and their classes as unit rows, with the model's own logit scale and bias.

    The classes become prompts by `templates`, each of which holds {} for the class; by default by the dataset's own, as
    in a study. `logit_scale`, such as a tuned one, takes the place of the model's own. With `beside`, the features of
    other images, the images are out of distribution: the classes and the scale are those of `beside`, and all labels
    are -1. The model's tensors must be on `device`. Raises ValueError where the images have no classes, naming the
    first whose label is none of them, and for a wrong template.
    """
    meta = images.meta
    templates = meta["templates"] if templates is None else list(templates)
    for problem in template_problems(templates):
        raise ValueError(problem)
    if beside is None:
        require_labels(meta["classes"], images.labels, meta.get("label_problem"), str(meta["entry"]))
    image = image_features(clip, images.images, batch=batch, device=device)
    if beside is not None:
        labels = np.full(len(image), -1)
        return Features(
            image, beside.text, labels, beside.logit_scale, beside.logit_bias, photographs=images.photographs
        )
    own_scale, bias = logit_scale_and_bias(clip)
    text = text_head(clip, meta["classes"], templates, device=device)
    scale = own_scale if logit_scale is None else logit_scale
    return Features(image, text, images.labels, scale, bias, photographs=images.photographs)
