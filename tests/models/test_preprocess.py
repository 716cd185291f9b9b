import numpy as np
import pytest
import torch
from PIL import Image

from reliquant.models.preprocess import batches

WORDS = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}


def levels(images, **words):
    """Undo the normalisation: what the model would see as levels of 255."""
    found = torch.cat(list(batches(images, **WORDS, **words)))
    mean, std = (torch.tensor(WORDS[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    return ((found * std + mean) * 255).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("size", [(32, 32), (96, 96), (31, 33), (28, 40)])
@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("target", [24, 64])
def test_resizing_equals_pil_within_one_level(size, resize, interpolation, target):
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(3, *size, 3)).cumsum(1).cumsum(2)
    images = np.uint8(np.clip(128 + smooth * 6, 0, 255))
    images[0] = rng.integers(0, 256, (*size, 3))  # and one of noise, where overshoot is worst
    found = levels(images, size=target, resize=resize, interpolation=interpolation, batch=2)
    height, width = size
    if resize == "squash":
        shape = (target, target)
    else:
        shape = (target, int(target * height / width)) if width <= height else (int(target * width / height), target)
    for image, ours in zip(images, found, strict=True):
        theirs = np.asarray(Image.fromarray(image).resize(shape, Image.Resampling[interpolation.upper()]), np.float32)
        top, left = round((shape[1] - target) / 2), round((shape[0] - target) / 2)
        assert abs(ours - theirs[top : top + target, left : left + target]).max() <= 1 + 1e-3


def test_images_of_the_right_size_are_only_normalised():
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    found = levels(images, size=16, resize="shortest", interpolation="bicubic", batch=2)
    np.testing.assert_allclose(found, images, atol=1e-3)


def test_batches_keep_the_order_and_the_rest():
    images = np.zeros((5, 8, 8, 3), np.uint8)
    shapes = [len(b) for b in batches(images, **WORDS, size=8, resize="squash", interpolation="bilinear", batch=2)]
    assert shapes == [2, 2, 1]
