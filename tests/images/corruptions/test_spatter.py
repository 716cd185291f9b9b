import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter

from reliquant.images.corruptions.spatter import corruption, drops, edges


def blobs(seed: int) -> np.ndarray:
    liquid = gaussian_filter(np.random.default_rng(seed).normal(0.65, 0.3, (96, 96)), 3, mode="nearest")
    return np.where(liquid < 0.68, 0, liquid * 255).astype(np.uint8)


def test_edges_of_a_square_are_its_outline_one_pixel_wide():
    square = np.zeros((20, 20), np.uint8)
    square[5:15, 6:16] = 200
    found = edges(square)
    assert found[8:12, 4:9].sum(axis=1).tolist() == [1] * 4
    assert not found[7:13, 9:13].any()
    assert not found[:3].any()


def test_edges_weaker_than_the_thresholds_are_not_edges():
    step = np.zeros((10, 10), np.uint8)
    step[:, 5:] = 37  # gradient 4 x 37 = 148 < 150
    assert not edges(step).any()
    step[:, 5:] = 38
    assert edges(step).any()


def test_every_drop_has_a_rim_and_rims_lie_at_drops():
    liquid = blobs(0)
    found = edges(liquid)
    assert found.any()
    assert not (found & ~binary_dilation(liquid > 0, iterations=2)).any()


def test_drops_light_up_only_themselves_and_reach_one():
    light = drops(blobs(1))
    assert light.max() == pytest.approx(1)
    assert not light[blobs(1) == 0].any()
    assert not drops(np.zeros((16, 16), np.uint8)).any()


def test_water_brightens_in_pale_turquoise_and_mud_covers_in_brown(seeds):
    grey = np.full((3, 80, 80, 3), 100, np.uint8)
    water = corruption(grey, seeds(3), severity=3).astype(int) - 100
    assert water.min() == 0
    assert np.argmax(water.mean((0, 1, 2))) in (1, 2)
    mud = corruption(grey, seeds(3), severity=5)
    assert [63, 42, 20] in mud.reshape(-1, 3).tolist()
    assert 0.03 < np.mean((mud != 100).any(axis=-1)) < 0.5


def test_spatter_covers_as_much_as_normal_noise_lies_above_the_threshold(seeds):
    # severity 5 below 65 px: noise of deviation 0.1, blurred by 0.5 px, above 0.68 where 0.65 is the mean
    grey = np.full((60, 60, 60, 3), 200, np.uint8)
    covered = np.mean(corruption(grey, seeds(60), severity=5)[..., 0] < 190)
    noise = gaussian_filter(np.random.default_rng(0).normal(0.65, 0.1, (600, 600)), 0.5)
    soft = gaussian_filter((noise > 0.68).astype(float), 0.6)
    assert covered == pytest.approx(np.mean(soft >= 0.8), rel=0.1)
