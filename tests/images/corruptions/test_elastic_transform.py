import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from reliquant.images.corrupting import sample
from reliquant.images.corruptions.elastic_transform import corruption, inverse_affine, smoothing


@pytest.mark.parametrize(("border", "mode"), [("symmetric", "reflect"), ("reflect", "mirror")])
def test_sample_equals_scipys_linear_interpolation_beyond_the_borders_too(border, mode):
    rng = np.random.default_rng(0)
    image = rng.random((3, 9, 13), np.float32)
    y, x = rng.uniform(-25, 30, size=(2, 9, 13)).astype(np.float32)
    wanted = [map_coordinates(plane.astype(float), [y, x], order=1, mode=mode) for plane in image]
    np.testing.assert_allclose(sample(image, y, x, border=border), wanted, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.9, 6.4, 170.8])
def test_smoothing_rows_and_columns_equals_scipys_gaussian(sigma):
    noise = np.random.default_rng(0).uniform(-1, 1, size=(32, 48))
    ours = smoothing(32, sigma) @ noise @ smoothing(48, sigma).T
    np.testing.assert_allclose(ours, gaussian_filter(noise, sigma, mode="reflect", truncate=3), atol=1e-5)


def test_inverse_affine_maps_moved_anchors_back():
    moves = np.random.default_rng(0).uniform(-3, 3, size=(3, 2))
    a, b, c, d, e, f = inverse_affine(32, 40, moves)
    anchors = np.array([[26, 30], [26, 10], [6, 10]])  # around (16, 20), 10 = 32 // 3 away
    for (x, y), (u, v) in zip(anchors + moves, anchors, strict=True):
        assert (a * x + b * y + c, d * x + e * y + f) == pytest.approx((u, v), abs=1e-4)


def test_elastic_transform_of_one_colour_changes_nothing(seeds):
    flat = np.full((2, 70, 70, 3), 143, np.uint8)
    for severity in (1, 2, 3, 4, 5):
        np.testing.assert_array_equal(corruption(flat, seeds(2), severity=severity), flat)


def test_elastic_transform_moves_pixels_by_as_much_as_the_parameters_say(seeds):
    ramp = np.broadcast_to(np.arange(224, dtype=np.uint8)[:, None], (8, 224, 224))
    images = np.repeat(ramp[..., None], 3, axis=3)
    moved = corruption(images, seeds(8), severity=5)[..., 0].astype(float)
    inner = moved[:, 40:-40, 40:-40] - images[:, 40:-40, 40:-40, 0]
    residual = inner - inner.mean(axis=(1, 2), keepdims=True)
    # uniform noise of deviation 1 / sqrt(3), blurred by sigma = 2.44 (deviation / (2 sqrt(pi) sigma)), times 29.28
    assert np.median(residual.std(axis=(1, 2))) == pytest.approx(
        29.28 / np.sqrt(3) / (2 * np.sqrt(np.pi) * 2.44), rel=0.4
    )
