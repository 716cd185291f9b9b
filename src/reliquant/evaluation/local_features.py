"""Features of the parts of an image, in the space of the captions: what GL-MCM looks at beside the whole image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.functional import normalize

from reliquant.layers.surgery import unpack_attention
from reliquant.models.openclip import open_clip

VisionTransformer = open_clip.transformer.VisionTransformer


@contextmanager
def local_features(model: nn.Module, /) -> Iterator[Callable[[], torch.Tensor]]:
    """Give a function that returns the unit local features (n, p, d) of the images that the model encoded last.

    ViT: one feature per patch. The values of the last block's attention go through its projection, the MLP, the final
    norm and the final projection without being mixed between patches (MaskCLIP, Zhou et al. 2022; GL-MCM, Miyai et al.
    2023). timm's ConvNeXt: one feature per place of the last map, which goes through norm and projection before it is
    pooled. Quantized layers stay quantized on this way. Raises ValueError for a tower of another kind.
    """
    place, follow = _way(model.visual)
    held: list[torch.Tensor] = []  # the input of the last forward

    def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...], words: dict[str, torch.Tensor]) -> None:
        held[:] = [inputs[0] if inputs else next(iter(words.values()))]

    hook = place.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield lambda: normalize(follow(held[0]).float(), dim=-1)
    finally:
        hook.remove()


def _way(visual: nn.Module) -> tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
    """Return the module whose input is caught, and the function that makes local features of that input."""
    if isinstance(visual, VisionTransformer) and visual.attn_pool is None and visual.pool_type == "tok":
        unpack_attention(visual)
        return visual.transformer.resblocks[-1], lambda x: _of_patches(visual, x)
    head = getattr(getattr(visual, "trunk", None), "head", None)
    if all(hasattr(head, part) for part in ("global_pool", "norm", "pre_logits", "fc")):
        return head, lambda x: _of_map(visual, x)
    kind = type(getattr(visual, "trunk", visual)).__name__
    raise ValueError(
        f"score 'gl_mcm' needs local features, and the image tower ({kind}) has none in the space of captions: "
        "there are those of open_clip's ViT with a class token and of timm's ConvNeXt"
    )


def _of_patches(visual: VisionTransformer, x: torch.Tensor) -> torch.Tensor:
    """Return the feature (n, p, d) of each patch from the input of the last block."""
    block = visual.transformer.resblocks[-1]
    x = x if block.attn.batch_first else x.transpose(0, 1)  # (n, 1 + p, width)
    values = block.attn.qkv(block.ln_1(x)).chunk(3, dim=-1)[2]
    y = x + block.ls_1(block.attn.proj(values))
    y = y + block.ls_2(block.mlp(block.ln_2(y)))
    y = visual.ln_post(y[:, 1:])
    return y if visual.proj is None else y @ visual.proj


def _of_map(visual: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return the feature (n, places, d) of each place of the last map (n, channels, h, w)."""
    head = visual.trunk.head
    y = head.norm(x).flatten(2).transpose(1, 2)  # (n, places, channels)
    return visual.head(head.fc(head.pre_logits(y)))
