"""What a change of a model's layers costs, measured on the pairs of the proxy alone: never on images of a test.

| measure | the loss, which FP32 has a value of, too |
|---|---|
| `output_error` | squared error of the embeddings over their squared length, mean over pairs, both towers added: 0 |
| `accuracy` | share of images to which another of the proxy's captions is nearer than their own |
| `nll` | negative log-likelihood of an image's own caption among the proxy's, a proper score of calibration |
| `calibration` | expected calibration error (15 bins) of the nearest caption's probability |
| `ood_gap` | 1 - AUROC by which MCM tells the images from themselves with their tiles shuffled |
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from reliquant.measures import calibration
from reliquant.measures.detection import auroc
from reliquant.models.clip import Clip
from reliquant.models.embedded import Embedded
from reliquant.quantization.proxy import Proxy, embed_all
from reliquant.quantization.single_layers import Tower

Measure = Literal["output_error", "accuracy", "nll", "calibration", "ood_gap"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
TILES = 4  # a side, of which a shuffled image is put together
TIE = 1e-6  # of the output error: decides between losses that are counts of images, and equal


class ProxyLoss:
    """Hold what FP32 makes of the first pairs of a proxy; measure what becomes of it.

    Made before anything is rounded. Raises ValueError where all captions are the same, which only `output_error` can
    be measured on.
    """

    def __init__(self, clip: Clip, proxy: Proxy, measure: Measure, /, *, pairs: int, batch: int) -> None:
        number = min(pairs, len(proxy.captions))
        self.proxy = Proxy(proxy.images[:number], proxy.captions[:number], proxy.seed, proxy.device)
        self.measure, self.batch, self.clip = measure, batch, clip
        self.first = _firsts(self.proxy.caption_ids)  # of each caption, in the order of their numbers
        if measure != "output_error" and len(self.first) < 2:
            raise ValueError(f"measure: {measure} needs two captions to tell apart; the {number} pairs have one")
        self.exact = embed_all(clip, self.proxy, batch)
        self.shuffled = _shuffled(self.proxy) if measure == "ood_gap" else None
        self.exact_other = self._other(clip) if self.shuffled else None
        self.of_fp32 = self._loss(self.exact, self.exact_other)

    def of(self, clip: Clip, towers: Collection[Tower] = ("image", "text"), /) -> tuple[float, float]:
        """Return the loss of a changed model, and the output error; towers that are not named are as FP32's.

        Raises ValueError where the embeddings are not finite.
        """
        found, other = self.embedded(clip, towers), self.exact_other
        if self.shuffled and "image" in towers:
            other = self._other(clip)
        error = sum(_error(getattr(found, tower), getattr(self.exact, tower)) for tower in towers)
        loss = error if self.measure == "output_error" else self._loss(found, other)
        if not np.isfinite([loss, error]).all():
            raise ValueError("the embeddings of the proxy's pairs are not finite")
        return loss, error

    def added(self, clip: Clip, towers: Collection[Tower], /) -> float:
        """Return what a change adds to FP32's loss, at least 0; equal losses are told apart by the output error.

        A rounding that seems to help is noise of a few pairs: as a gain it would pay for harm elsewhere.
        """
        loss, error = self.of(clip, towers)
        return loss if self.measure == "output_error" else max(loss - self.of_fp32, 0.0) + TIE * error

    def embedded(self, clip: Clip, towers: Collection[Tower], /) -> Embedded:
        """Embed the pairs with the named towers; the others are as FP32's."""
        parts: dict[Tower, list[torch.Tensor]] = {tower: [] for tower in towers}
        with torch.no_grad():
            for pixels, tokens, _ in self.proxy.in_order(clip, self.batch):
                for tower, found in parts.items():
                    encode = clip.model.encode_image if tower == "image" else clip.model.encode_text
                    found.append(encode(pixels if tower == "image" else tokens, normalize=True))
        given = {tower: torch.cat(found) for tower, found in parts.items()}
        exact = self.exact
        image, text = given.get("image", exact.image), given.get("text", exact.text)
        return Embedded(image, text, exact.logit_scale, exact.logit_bias, exact.caption)

    def _other(self, clip: Clip) -> torch.Tensor:
        """Embed the shuffled images."""
        with torch.no_grad():
            parts = self.shuffled.in_order(clip, self.batch) if self.shuffled else ()
            return torch.cat([clip.model.encode_image(pixels, normalize=True) for pixels, _, _ in parts])

    def _loss(self, found: Embedded, other: torch.Tensor | None) -> float:
        if self.measure == "output_error":
            return 0.0
        text = found.text[self.first.to(found.text.device)].float()  # (captions, d)
        cosine = found.image.float() @ text.T
        if self.measure == "ood_gap" and other is not None:
            scores = [c.softmax(1).amax(1).double().cpu().numpy() for c in (cosine, other.float() @ text.T)]
            return 1 - auroc(scores[0], scores[1]).value
        logits = cosine * found.logit_scale.detach().float()
        if self.measure == "nll":
            return cross_entropy(logits, found.caption).item()
        confidence, nearest = logits.softmax(1).max(1)
        right = (nearest == found.caption).cpu().numpy()
        if self.measure == "accuracy":
            return 1 - float(right.mean())
        return calibration.ece(confidence.double().cpu().numpy(), right)


def _error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the squared error of embeddings (n, d) relative to their squared length."""
    return ((found.double() - exact.double()).square().sum() / exact.double().square().sum()).item()


def _firsts(ids: torch.Tensor) -> torch.Tensor:
    """Return where each caption number comes first."""
    return torch.from_numpy(np.unique(ids.numpy(), return_index=True)[1])


def _shuffled(proxy: Proxy) -> Proxy:
    """Return the images put together from their own tiles in another order, the same in every run."""
    rng = np.random.default_rng(0)
    n, height, width, _ = proxy.images.shape
    h, w = max(1, height // TILES), max(1, width // TILES)
    images = proxy.images.copy()
    corners = [(y * h, x * w) for y in range(height // h) for x in range(width // w)]
    for i in range(n):
        for (y, x), place in zip(corners, rng.permutation(len(corners)), strict=True):
            top, left = corners[place]
            images[i, y : y + h, x : x + w] = proxy.images[i, top : top + h, left : left + w]
    return Proxy(images, proxy.captions, proxy.seed, proxy.device)
