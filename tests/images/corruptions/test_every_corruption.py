from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest

from reliquant.plugins import names, source, words

EVERY = names("corruption")
FIXED = ["brightness", "contrast", "defocus_blur", "gaussian_blur", "jpeg_compression", "pixelate", "saturate"]
FIXED += ["zoom_blur"]
# by the published parameters, some are not stronger at every step: elastic_transform trades shift for wobble, ...
GROWING = ["gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "motion_blur", "zoom_blur", "contrast"]
GROWING += ["brightness", "pixelate", "jpeg_compression", "speckle_noise", "gaussian_blur"]


def plugin(name: str) -> Callable[..., np.ndarray]:
    return import_module(f"reliquant.images.corruptions.{name}").corruption


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("size", [(32, 32), (96, 80)])
def test_an_image_gets_the_same_bytes_alone_and_among_others(name, size, photos, seeds):
    corruption, images, given = plugin(name), photos(4, *size), seeds(4)
    together = corruption(images, given, severity=4)
    assert together.dtype == np.uint8
    for i in range(4):
        np.testing.assert_array_equal(corruption(images[i : i + 1], given[i : i + 1], severity=4)[0], together[i])


@pytest.mark.parametrize("name", EVERY)
def test_only_the_seed_makes_it_random(name, photos, seeds):
    corruption, images = plugin(name), np.repeat(photos(1), 2, axis=0)
    before = images.copy()
    same = corruption(images, np.array([5, 5], np.uint64), severity=3)
    np.testing.assert_array_equal(same[0], same[1])
    other = corruption(images, np.array([5, 2**64 - 1], np.uint64), severity=3)
    assert np.array_equal(other[0], other[1]) == (name in FIXED)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("size", [(8, 8), (8, 33), (65, 13), (65, 100), (131, 77)])
def test_any_size_from_eight_pixels_on_is_taken(name, size, photos, seeds):
    corruption, images = plugin(name), photos(1, *size)
    for severity in (1, 2, 3, 4, 5):
        corrupted = corruption(images, seeds(1), severity=severity)
        assert corrupted.shape == images.shape
        identity = name == "zoom_blur" and min(size) == 8  # ceil(8 / 1.06) = 8: nothing is cropped
        assert identity or not np.array_equal(corrupted, images)


@pytest.mark.parametrize("name", EVERY)
def test_no_image_is_no_image(name):
    corruption, none = plugin(name), np.empty((0, 32, 32, 3), np.uint8)
    assert corruption(none, np.empty(0, np.uint64), severity=1).shape == none.shape


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_images_are_taken(name, level, seeds):
    corruption, flat = plugin(name), np.full((1, 70, 70, 3), level, np.uint8)
    assert corruption(flat, seeds(1), severity=5).shape == flat.shape


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("side", [32, 96])
def test_severity_five_changes_more_than_severity_one(name, side, photos, seeds):
    corruption, images = plugin(name), photos(3, side, side)
    changes = [np.abs(corruption(images, seeds(3), severity=s).astype(int) - images).mean() for s in (1, 2, 3, 4, 5)]
    if name != "elastic_transform":
        assert changes[4] > changes[0]
    if name in GROWING:
        assert changes == sorted(changes)


@pytest.mark.parametrize("name", EVERY)
def test_bad_input_is_refused_with_the_reason(name, photos, seeds):
    corruption = plugin(name)
    with pytest.raises(ValueError, match="severity must be 1, 2, 3, 4 or 5, got 6"):
        corruption(photos(1), seeds(1), severity=6)
    with pytest.raises(ValueError, match=r"\(n, h, w, 3\) uint8 with h, w >= 8, got \(1, 7, 32, 3\) uint8"):
        corruption(photos(1)[:, :7], seeds(1), severity=1)
    with pytest.raises(ValueError, match="float64"):
        corruption(photos(1) / 255, seeds(1), severity=1)
    with pytest.raises(ValueError, match="2 seeds for 1 images"):
        corruption(photos(1), seeds(2), severity=1)


def test_there_are_the_fifteen_and_the_four_and_each_has_one_word():
    assert len(EVERY) == 19
    assert {tuple(words(source("corruption", name), "corruption")) for name in EVERY} == {("severity",)}
