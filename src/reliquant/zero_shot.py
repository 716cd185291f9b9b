"""Zero-shot classification: class embeddings from prompts, image embeddings from prepared arrays."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from reliquant.clip import Clip
from reliquant.preprocess import batches
from reliquant.progress import progress
from reliquant.proxy import pixel_words

Dtype = Literal["float32", "bfloat16"]


@torch.no_grad()
def text_head(clip: Clip, classes: list[str], templates: list[str], /, *, device: str = "cpu") -> NDArray[np.float32]:
    """Embed classes, (c, d): unit embeddings of the prompts, their mean over templates, unit again.

    Radford et al. 2021, section 3.1.4; what open_clip's `build_zero_shot_classifier` does.
    """
    means = []
    for name in classes:
        tokens = clip.tokenizer([template.format(name) for template in templates]).to(device)
        means.append(clip.model.encode_text(tokens, normalize=True).float().mean(dim=0))
    return normalize(torch.stack(means), dim=1).cpu().numpy()


@torch.no_grad()
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
    found = []
    total = -(-len(images) // batch)
    for pixels in progress(batches(images, **pixel_words(clip), batch=batch, device=device), label=label, total=total):
        features = clip.model.encode_image(pixels.to(getattr(torch, dtype)), normalize=False)
        found.append(normalize(features.float(), dim=1).cpu())
    return torch.cat(found).numpy()


def logit_scale_and_bias(clip: Clip, /) -> tuple[float, float]:
    """Return the model's own multiplier (not its logarithm) and bias of the similarities."""
    bias = getattr(clip.model, "logit_bias", None)
    return float(clip.model.logit_scale.detach().exp()), 0.0 if bias is None else float(bias.detach())
