"""The image-caption pairs on which a variant is calibrated, trained and its logit scale tuned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from reliquant.models.clip import Clip
from reliquant.models.embedded import Embedded
from reliquant.models.preprocess import batches, pixel_words


@dataclass(frozen=True)
class Proxy:
    """Hold n uint8 images (n, h, w, 3) with their captions, and the seed that orders them in training."""

    images: NDArray[np.uint8]
    captions: list[str]
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if len(self.images) != len(self.captions) or not self.captions:
            counts = f"{len(self.captions)} for {len(self.images)} images"
            raise ValueError(f"a proxy needs pairs, as many captions as images, not {counts}")

    @cached_property
    def caption_ids(self) -> torch.Tensor:
        """Number the distinct captions, (n,)."""
        return torch.from_numpy(np.unique(self.captions, return_inverse=True)[1].astype(np.int64))

    def take(self, clip: Clip, chosen: NDArray[np.int64], /) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return pixels (b, 3, s, s), tokens (b, l) and caption numbers (b,) of the chosen pairs."""
        pixels = next(iter(batches(self.images[chosen], **pixel_words(clip), batch=len(chosen), device=self.device)))
        tokens = clip.tokenizer([self.captions[i] for i in chosen]).to(self.device)
        return pixels.contiguous(), tokens, self.caption_ids[chosen].to(self.device)

    def in_order(self, clip: Clip, size: int, /) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yield all pairs in order, `size` at a time, as calibration takes them."""
        for start in range(0, len(self.captions), size):
            yield self.take(clip, np.arange(start, min(start + size, len(self.captions))))

    def chosen(self, iteration: int, size: int, /) -> NDArray[np.int64]:
        """Return which pairs a training iteration sees; (seed, iteration) alone decide, so that a run can resume.

        Every epoch has a new order; a last batch that is too small is dropped. Raises ValueError with too few pairs.
        """
        n = len(self.captions)
        if size > n:
            raise ValueError(f"batch {size} is larger than the {n} pairs of the proxy")
        epoch, step = divmod(iteration, n // size)
        order = np.random.default_rng([self.seed, epoch]).permutation(n)
        return np.sort(order[step * size : (step + 1) * size])


def embed(clip: Clip, pixels: torch.Tensor, tokens: torch.Tensor, captions: torch.Tensor, /) -> Embedded:
    """Run a batch of pairs through both towers."""
    model = clip.model
    bias = getattr(model, "logit_bias", None)
    return Embedded(
        image=model.encode_image(pixels, normalize=True),
        text=model.encode_text(tokens, normalize=True),
        logit_scale=model.logit_scale.exp(),
        logit_bias=torch.zeros((), device=pixels.device) if bias is None else bias,
        caption=captions,
    )


def embed_all(clip: Clip, proxy: Proxy, size: int = 64, /) -> Embedded:
    """Run all pairs of a proxy through both towers, `size` at a time, without gradients."""
    with torch.no_grad():
        parts = [embed(clip, *pairs) for pairs in proxy.in_order(clip, size)]
    return Embedded(
        image=torch.cat([part.image for part in parts]),
        text=torch.cat([part.text for part in parts]),
        logit_scale=parts[0].logit_scale,
        logit_bias=parts[0].logit_bias,
        caption=torch.cat([part.caption for part in parts]),
    )
