import numpy as np
import pytest
import torch
from PIL import Image

from reliquant.images.prepare import _resized
from reliquant.models.clip import Clip
from reliquant.models.preprocess import batches, require_form
from reliquant.study.form import parse_form

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


@pytest.mark.parametrize("size", [(31, 33), (28, 90), (33, 31), (9, 9)])
@pytest.mark.parametrize(
    "form",
    [
        "24-longest-bicubic-fill0",
        "64-longest-bilinear-fill12.200.90",
        "24x48-shortest-bicubic",
        "48x24-squash-bicubic",
    ],
)
def test_padding_and_fields_of_any_shape_equal_pil_within_one_level(size, form):
    fit = parse_form(form)
    rng = np.random.default_rng(1)
    images = np.uint8(np.clip(128 + rng.normal(size=(2, *size, 3)).cumsum(1).cumsum(2) * 6, 0, 255))
    words = {"resize": fit.resize, "interpolation": fit.interpolation, "fill": fit.fill}
    found = levels(images, size=(fit.height, fit.width), **words, batch=2)
    assert found.shape == (2, fit.height, fit.width, 3)
    for image, ours in zip(images, found, strict=True):
        theirs = np.asarray(_resized(Image.fromarray(image), form), np.float32)
        assert abs(ours - theirs).max() <= 1 + 1e-3


def test_images_in_another_form_than_the_models_are_named():
    clip = Clip(torch.nn.Identity(), list, (24, 48), (0.5,) * 3, (0.5,) * 3, "longest", fill=(1, 1, 1))
    require_form(clip, "native", "x")
    require_form(clip, "24x48-longest-bicubic-fill1", "x")
    said = "data/x: prepared as 24x48-longest-bicubic-fill0, but the model wants `form: 24x48-longest-bicubic-fill1` in"
    with pytest.raises(ValueError, match=said):
        require_form(clip, "24x48-longest-bicubic-fill0", "data/x")
