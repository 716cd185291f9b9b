"""A small ConvNeXt for 32 x 32 images, registered with timm so that open_clip's JSON files can name it."""

from __future__ import annotations

from typing import Any

import reliquant.models.openclip  # noqa: F401  must come before timm

# isort: split
from timm.models import build_model_with_cfg, register_model
from timm.models.convnext import ConvNeXt


@register_model
def reliquant_convnext32(pretrained: bool = False, **words: Any) -> ConvNeXt:
    """Build a ConvNeXt (Liu et al. 2022) of 1.1 million parameters whose first stage sees 8 x 8 positions.

    It differs from timm's own small ones: the stem has overlapping 3 x 3 convolutions, so that a 32 x 32 image needs
    no enlargement; depth-wise kernels are 5 and 3 wide; layer scales start at 0.1, not 1e-6, for a short training.
    """
    defaults = {
        "depths": (2, 3, 1, 0),
        "dims": (64, 128, 192, 192),
        "kernel_sizes": (5, 3, 3, 3),
        "stem_type": "overlap_act",
        "ls_init_value": 0.1,
        "norm_eps": 1e-5,
    }
    features = {"out_indices": (0, 1, 2, 3), "flatten_sequential": True}
    words["pretrained_cfg"] = {"input_size": (3, 32, 32)}  # else timm would look for a checkpoint, and there is none
    return build_model_with_cfg(
        ConvNeXt, "reliquant_convnext32", pretrained, feature_cfg=features, **{**defaults, **words}
    )


@register_model
def reliquant_convnext32_slim(pretrained: bool = False, **words: Any) -> ConvNeXt:
    """Build the embedded lab's ConvNeXt: the same with 0.5 million parameters, and kernels of 7 in its first stage."""
    shape = {"depths": (2, 2, 1, 0), "dims": (48, 96, 128, 128), "kernel_sizes": (7, 5, 3, 3)}
    return reliquant_convnext32(pretrained, **{**shape, **words})
