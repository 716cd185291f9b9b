"""Zero-shot classification: class embeddings from prompts, image embeddings from prepared arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from reliquant.evaluation.local_features import local_features
from reliquant.models.clip import Clip
from reliquant.models.feed import arrays
from reliquant.models.preprocess import batches, pixel_words
from reliquant.progress import progress

Dtype = Literal["float32", "bfloat16", "float64"]


def text_head(
    clip: Clip, classes: list[str], templates: list[str], /, *, device: str = "cpu", prompts: int = 256
) -> NDArray[np.float32]:
    """Embed classes, (c, d): unit embeddings of the prompts, their mean over templates, unit again.

    Radford et al. 2021, section 3.1.4; what open_clip's `build_zero_shot_classifier` does. About `prompts` prompts go
    through the text tower at a time.
    """
    return text_heads(clip, classes, templates, [], device=device, prompts=prompts)[0]


@torch.no_grad()
def text_heads(
    clip: Clip,
    classes: list[str],
    templates: list[str],
    alone: Sequence[int],
    /,
    *,
    device: str = "cpu",
    prompts: int = 256,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embed classes by all templates together, as `text_head` does, and by some alone, (k, c, d), from one pass.

    `alone` holds the places of these templates.
    """
    means, chosen = [], []
    at_once = max(1, prompts // len(templates))  # classes
    for start in range(0, len(classes), at_once):
        part = classes[start : start + at_once]
        tokens = clip.tokenizer([template.format(name) for name in part for template in templates]).to(device)
        embedded = clip.model.encode_text(tokens, normalize=True).float()  # (classes x templates, d)
        by_class = embedded.unflatten(0, (len(part), len(templates)))
        means.append(by_class.mean(dim=1))
        chosen.append(by_class[:, list(alone)])
    heads = (torch.cat(means), torch.cat(chosen).transpose(0, 1))
    together, each = (normalize(head, dim=-1).cpu().numpy() for head in heads)
    return together, each


def image_features(
    clip: Clip,
    images: NDArray[np.uint8],
    /,
    *,
    batch: int = 256,
    device: str = "cpu",
    dtype: Dtype = "float32",
    label: str = "images",
) -> NDArray[np.float32]:
    """Embed uint8 images (n, h, w, 3) as unit rows (n, d), float32 whatever the type of the forward."""
    return np.concatenate(list(arrays(_embedded(clip, images, batch, device, dtype, label))))


@torch.no_grad()
def features_with_local(
    clip: Clip,
    images: NDArray[np.uint8],
    /,
    *,
    batch: int = 256,
    device: str = "cpu",
    dtype: Dtype = "float32",
    label: str = "images",
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield, batch by batch, unit features of images (b, d) and of their patches (b, p, d).

    The patches of all images together would fill memory. Raises ValueError for a tower without local features.
    """
    with local_features(clip.model) as local:
        for features in _embedded(clip, images, batch, device, dtype, label):
            yield features.cpu().numpy(), local().cpu().numpy()


@torch.no_grad()
def _embedded(
    clip: Clip, images: NDArray[np.uint8], batch: int, device: str, dtype: Dtype, label: str
) -> Iterator[torch.Tensor]:
    total = -(-len(images) // batch)
    for pixels in progress(batches(images, **pixel_words(clip), batch=batch, device=device), label=label, total=total):
        features = clip.model.encode_image(pixels.to(getattr(torch, dtype)), normalize=False)
        yield normalize(features.float(), dim=1)


def logit_scale_and_bias(clip: Clip, /) -> tuple[float, float]:
    """Return the model's own multiplier (not its logarithm) and bias of similarities; without a bias it is 0."""
    bias = getattr(clip.model, "logit_bias", None)
    return float(clip.model.logit_scale.detach().exp()), 0.0 if bias is None else float(bias.detach())
