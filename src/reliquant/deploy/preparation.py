"""What a program without this package must know to feed an exported tower: pixels, tokens, scale of similarities."""

from __future__ import annotations

from typing import Any

from reliquant.evaluation.zero_shot import logit_scale_and_bias
from reliquant.models.clip import Clip
from reliquant.models.tokenizer import WordTokenizer

CHECK = ("a photo of a cat", "two dogs, running!")


def preprocessing_facts(clip: Clip, /) -> dict[str, Any]:
    """Say how a photograph becomes the input `pixels` (n, 3, height, width), float32.

    Resized (`resize`: the shortest side to the size and the centre cropped, the longest side and the rest filled with
    the levels `fill`, or squashed) by the antialiased `interpolation`, levels divided by 255, less `mean`, over `std`.
    """
    height, width = clip.shape
    return {
        "height": height,
        "width": width,
        "resize": clip.resize,
        "interpolation": clip.interpolation,
        "fill": list(clip.fill),
        "mean": list(clip.mean),
        "std": list(clip.std),
        "order": "RGB, channels first, levels / 255, less mean, divided by std",
    }


def tokenizer_facts(clip: Clip, /) -> dict[str, Any]:
    """Say which tokenizer makes the input `tokens` (n, context), with captions of known tokens to check it by."""
    tokenizer = clip.tokenizer
    tokens = tokenizer(list(CHECK))
    facts: dict[str, Any] = {"class": f"{type(tokenizer).__module__}.{type(tokenizer).__qualname__}"}
    facts |= {"context": int(tokens.shape[1]), "type": str(tokens.dtype).removeprefix("torch.")}
    if isinstance(tokenizer, WordTokenizer):
        facts["words"] = list(tokenizer.words)
    facts["check"] = dict(zip(CHECK, tokens.tolist(), strict=True))
    return facts


def scale_facts(clip: Clip, /) -> dict[str, float]:
    """Return the multiplier and the bias of similarities: logits are scale * cosine + bias."""
    scale, bias = logit_scale_and_bias(clip)
    return {"logit_scale": scale, "logit_bias": bias}
