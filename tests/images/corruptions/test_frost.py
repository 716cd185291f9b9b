import numpy as np
import pytest

from reliquant.images.corruptions.frost import LOOKS, corruption, texture


@pytest.mark.parametrize("look", range(5))
def test_textures_have_the_colours_of_the_photographs(look):
    mean, deviation, _ = LOOKS[look]
    ice = texture(look).astype(float)
    np.testing.assert_allclose(ice.mean((0, 1)), mean, atol=6)
    np.testing.assert_allclose(ice.std((0, 1)), deviation, atol=4)


def test_textures_continue_over_their_borders():
    ice = texture(0).astype(float)
    seam, inside = np.abs(ice[0] - ice[-1]).mean(), np.abs(np.diff(ice, axis=0)).mean()
    assert seam < 1.3 * inside


def test_frost_on_black_is_a_part_of_a_texture_at_its_weight():
    shown = corruption(np.zeros((1, 70, 520, 3), np.uint8), np.array([4], np.uint64), severity=1)[0]
    rng = np.random.Generator(np.random.SFC64(4))
    ice = texture(int(rng.integers(5)))
    y, x = rng.integers(500, size=2)
    rolled = np.tile(np.roll(ice, (-y, -x), axis=(0, 1)), (1, 2, 1))[:70, :520]
    np.testing.assert_allclose(shown, np.floor(0.4 * rolled + 1e-4), atol=1)


def test_all_five_textures_are_drawn(seeds):
    shown = corruption(np.zeros((60, 80, 80, 3), np.uint8), seeds(60), severity=5)
    tints = (shown[..., 2].mean((1, 2)) - shown[..., 0].mean((1, 2))).round(-1)
    assert len(np.unique(tints)) >= 3
