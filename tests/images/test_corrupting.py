import numpy as np
import pytest

from reliquant.images.corrupting import crop_side, each, image_seeds, level, sample


def blank(n=2, h=32, w=32):
    return np.zeros((n, h, w, 3), np.uint8)


@pytest.mark.parametrize(("h", "w", "expected"), [(32, 32, "s2"), (64, 500, "s2"), (65, 65, "l2")])
def test_the_shorter_side_chooses_the_parameters_and_severity_the_level(h, w, expected):
    words = {size: tuple(f"{size[0]}{s}" for s in range(1, 6)) for size in ("small", "large")}
    assert level(blank(1, h, w), 2, **words) == expected


def test_every_image_gets_the_generator_of_its_own_seed():
    draws = each(blank(3), np.array([7, 8, 7], np.uint64), lambda x, rng: rng.integers(0, 256, x.shape, dtype=np.uint8))
    expected = np.random.Generator(np.random.SFC64(7)).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(draws[0], expected)
    assert np.array_equal(draws[2], expected)
    assert not np.array_equal(draws[1], expected)


@pytest.mark.parametrize(("value", "stored"), [(-3.0, 0), (3.999, 3), (254.9, 254), (300.0, 255)])
def test_values_are_clipped_and_truncated(value, stored):
    out = each(blank(1), np.array([0], np.uint64), lambda x, rng: np.full(x.shape, value, np.float32))
    assert set(out.ravel().tolist()) == {stored}


def test_seeds_differ_by_image_and_by_corruption_and_depend_on_nothing_else():
    fog, snow = (image_seeds(np.arange(1000), name) for name in ("fog", "snow"))
    assert len({*fog.tolist(), *snow.tolist()}) == 2000
    assert image_seeds(np.array([5]), "fog").tolist() == fog[5:6].tolist()


@pytest.mark.parametrize(("n", "factor", "side"), [(32, 1.0, 32), (32, 1.01, 32), (32, 2.0, 16), (33, 2.0, 17)])
def test_a_zoom_shows_this_many_pixels(n, factor, side):
    assert crop_side(n, factor) == side


@pytest.mark.parametrize("border", ["symmetric", "reflect"])
def test_samples_between_pixels_are_linear_and_borders_fold_as_numpys(border):
    image = np.random.default_rng(0).random((3, 5, 6), np.float32)
    folded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode=border)
    rows, columns = np.mgrid[-2:7, -2:8].astype(np.float32)
    np.testing.assert_allclose(sample(image, rows, columns, border=border)[:, :9, :10], folded, rtol=1e-6)
    y, x = np.full((1, 1), 1.25, np.float32), np.full((1, 1), 2.5, np.float32)
    expected = 0.75 * (image[:, 1, 2] + image[:, 1, 3]) / 2 + 0.25 * (image[:, 2, 2] + image[:, 2, 3]) / 2
    np.testing.assert_allclose(sample(image, y, x, border=border)[:, 0, 0], expected, rtol=1e-6)
