"""What a tower plugin returns: the (model, preprocessing, tokenizer) contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from reliquant.models.parts import Parts, find_parts
from reliquant.study.form import Form, Interpolation, Resize
from reliquant.study.preprocessing import Preprocessing


@dataclass(frozen=True)
class Clip:
    """Hold a CLIP-like model with the way its images and captions must be prepared.

    `model` has `encode_image(x, normalize=)`, `encode_text(tokens, normalize=)`, a `logit_scale` (logarithm) and maybe
    a `logit_bias`; `tokenizer` maps captions to (n, context) token ids; images are resized to `size` pixels, or to
    (height, width) (`shortest` side then centre crop, `longest` side then padding with the levels `fill`, or `squash`),
    scaled to [0, 1] and normalised by `mean` and `std` per channel. `facts` is what is known of how its weights were
    read, for the header of the model's file. `models/check.py: check_model` says what of it is wrong.

    `image`, `text` and `blocks` name the modules of the two towers and the blocks in them, which are what is quantized;
    `*` stands for one part of a name (`visual.encoder.*`). Left empty, they are found by running the model once.
    """

    model: nn.Module
    tokenizer: Callable[[list[str]], torch.Tensor]
    size: int | tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Resize = "shortest"
    interpolation: Interpolation = "bicubic"
    fill: tuple[int, int, int] = (0, 0, 0)
    facts: Mapping[str, Any] = field(default_factory=dict)
    image: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()

    @cached_property
    def parts(self) -> Parts:
        """Name the towers and blocks; raise ValueError where the model cannot embed an image or a caption."""
        given = {"image": self.image, "text": self.text, "blocks": self.blocks}
        return find_parts(self.model, self.shape, self.tokenizer, **given)

    def with_model(self, model: nn.Module, /) -> Clip:
        """Return the same with a copy of the model that is changed inside its blocks; the parts stay those found."""
        changed = replace(self, model=model)
        vars(changed)["parts"] = self.parts
        return changed

    @property
    def shape(self) -> tuple[int, int]:
        """Return the height and width of the images that the model takes, in pixels."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    @property
    def fit(self) -> Form:
        """Say how an image comes to that size."""
        return Form(*self.shape, self.resize, self.interpolation, self.fill)

    @property
    def form(self) -> str:
        """Name the preparation of large images that fits this model, as in `data/prepared/<dataset>/<form>`."""
        return self.fit.name


def with_preprocessing(
    model: nn.Module,
    tokenizer: Callable[[list[str]], torch.Tensor],
    preprocessing: Preprocessing,
    facts: Mapping[str, Any] | None = None,
    /,
) -> Clip:
    """Return a model in evaluation mode with its tokenizer and the preprocessing that a config says."""
    form = preprocessing.form
    size = form.height if form.height == form.width else (form.height, form.width)
    pixels = {"resize": form.resize, "interpolation": form.interpolation, "fill": form.fill}
    return Clip(model.eval(), tokenizer, size, preprocessing.mean, preprocessing.std, **pixels, facts=facts or {})
