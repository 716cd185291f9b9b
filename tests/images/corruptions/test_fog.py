import numpy as np
import pytest

from reliquant.images.corruptions.fog import corruption, plasma


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))


def test_plasma_of_four_pixels_follows_the_algorithm_point_by_point():
    ours, rng = plasma(4, 2.0, generator(3)), generator(3)
    field, reach, step = np.zeros((4, 4)), 1.0, 4
    while step >= 2:
        half, starts = step // 2, range(0, 4, step)
        for kind in ("centre", "edge", "side"):
            noise = 2 * rng.random((len(starts), len(starts)), np.float32).astype(float) - 1
            for i, y in enumerate(starts):
                for j, x in enumerate(starts):
                    if kind == "centre":
                        near = [(y, x), (y + step, x), (y, x + step), (y + step, x + step)]
                        at = y + half, x + half
                    elif kind == "edge":
                        near = [(y + half, x + half), (y - half, x + half), (y, x), (y, x + step)]
                        at = y, x + half
                    else:
                        near = [(y + half, x + half), (y + half, x - half), (y, x), (y + step, x)]
                        at = y + half, x
                    field[at] = np.mean([field[a % 4, b % 4] for a, b in near]) + reach * noise[i, j]
        step, reach = half, reach / 4  # the published code multiplies two amplitudes that both shrink by the decay
    np.testing.assert_allclose(ours, (field - field.min()) / (field.max() - field.min()), atol=1e-5)


@pytest.mark.parametrize("side", [2, 8, 32, 256])
def test_plasma_spans_zero_to_one(side):
    field = plasma(side, 2.0, generator(side))
    assert field.shape == (side, side)
    assert (field.min(), field.max()) == (0, 1)


def test_fog_equals_the_formula_with_its_own_plasma(photos):
    images = photos(1, 70, 90)
    cloud = plasma(128, 1.7, generator(8))[:70, :90, None].astype(float)
    x = images[0] / 255
    wanted = np.clip((x + 2.5 * cloud) * x.max() / (x.max() + 2.5), 0, 1) * 255
    ours = corruption(images, np.array([8], np.uint64), severity=3)[0]
    assert np.abs(ours + 0.5 - wanted).max() <= 0.51


def test_fog_is_never_brighter_than_the_image_was(photos, seeds):
    images = photos(4) // 2
    for severity in (1, 5):
        assert (corruption(images, seeds(4), severity=severity).max((1, 2, 3)) <= images.max((1, 2, 3))).all()
