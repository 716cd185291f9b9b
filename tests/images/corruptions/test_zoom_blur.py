import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import zoom

from reliquant.images.corrupting import clipped_zoom
from reliquant.images.corruptions.zoom_blur import corruption


def zoomed(image, factor):
    sides = image.shape[:2]
    crops = [int(np.ceil(n / factor)) for n in sides]
    y, x = [(n - crop) // 2 for n, crop in zip(sides, crops, strict=True)]
    large = zoom(image[y : y + crops[0], x : x + crops[1]], (factor, factor, 1)[: image.ndim], order=1)
    y, x = [(have - n) // 2 for n, have in zip(sides, large.shape[:2], strict=True)]
    return large[y : y + sides[0], x : x + sides[1]]


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (33, 47), (70, 91)])
@pytest.mark.parametrize("factor", [1.01, 1.07, 1.3, 2.25, 4.5])
def test_clipped_zoom_equals_scipys_zoom_of_the_crop(size, factor):
    field = np.random.default_rng(0).normal(size=size).astype(np.float32)
    ours = np.asarray(clipped_zoom(Image.fromarray(field), factor))
    np.testing.assert_allclose(ours, zoomed(field, factor), atol=1e-4)


def test_clipped_zoom_of_the_crop_alone_equals_that_of_the_whole():
    field = np.random.default_rng(0).normal(size=(40, 56)).astype(np.float32)
    whole = np.asarray(clipped_zoom(Image.fromarray(field), 2.5))
    crop = Image.fromarray(np.ascontiguousarray(field[12:28, 16:39]))  # ceil(40 / 2.5), ceil(56 / 2.5), in the middle
    np.testing.assert_allclose(np.asarray(clipped_zoom(crop, 2.5, size=(56, 40))), whole, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "limits"), [(32, (1.06, 1.11, 1.16, 1.21, 1.26)), (66, (1.11, 1.16, 1.21, 1.26, 1.31))]
)
def test_zoom_blur_equals_the_mean_of_scipys_zooms_within_one_level(side, limits, photos, seeds):
    images = photos(1, side, side)
    steps = (0.01,) * 5 if side == 32 else (0.01, 0.01, 0.02, 0.02, 0.03)
    for severity, (limit, step) in enumerate(zip(limits, steps, strict=True), 1):
        factors = np.arange(1, limit, step)
        x = images[0].astype(float)
        wanted = (x + sum(zoomed(x, factor) for factor in factors)) / (len(factors) + 1)
        ours = corruption(images, seeds(1), severity=severity)[0]
        assert np.abs(ours - np.floor(wanted + 1e-3)).max() <= 1
