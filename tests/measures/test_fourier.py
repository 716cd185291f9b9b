import numpy as np
import pytest

from reliquant.measures.fourier import RMS, frequencies, low_share, radial_energy, wave, with_wave


@pytest.mark.parametrize(("u", "v", "radius"), [(1, 0, 0.25), (2, 0, 0.5), (0, 4, 1.0), (3, 4, 1.25)])
def test_a_wave_has_its_energy_at_its_radius(u, v, radius):
    maps = np.stack([wave(8, 8, u, v), 5 + wave(8, 8, u, v)])[None]
    radii, shares = radial_energy(maps)
    assert dict(zip(radii, shares[0], strict=True))[radius] == pytest.approx(1)


def test_white_noise_has_energy_in_proportion_to_the_frequencies_at_a_radius():
    maps = np.random.default_rng(0).normal(size=(200, 16, 8, 8))
    radii, shares = radial_energy(maps)
    counts = np.zeros(len(radii))
    for i in range(8):
        for j in range(8):
            a, b = min(i, 8 - i), min(j, 8 - j)
            if i or j:
                counts[np.argmin(np.abs(radii * 4 - round(float(np.hypot(a, b)))))] += 1
    assert shares.mean(axis=0) == pytest.approx(counts / 63, abs=0.01)
    assert low_share(radii, shares).mean() == pytest.approx(counts[radii <= 0.5].sum() / 63, abs=0.01)


def test_maps_without_space_are_refused():
    with pytest.raises(ValueError, match="1 x 1 have no spatial frequencies"):
        radial_energy(np.zeros((2, 3, 1, 1)))


@pytest.mark.parametrize(("size", "cells"), [(32, 5), (8, 5), (9, 3)])
def test_frequencies_name_each_wave_once(size, cells):
    waves = frequencies(size, cells)
    pictures = np.stack([np.abs(np.fft.fft2(wave(size, size, u, v))) > 1e-6 for u, v in waves])
    assert len(np.unique(pictures.reshape(len(waves), -1), axis=0)) == len(waves)
    assert all(picture.sum() in (1, 2) for picture in pictures)


def test_a_full_grid_has_every_wave_of_the_image():
    assert len(frequencies(8, 5)) == (64 - 4) // 2 + 3  # pairs, and the three that are their own mirror but the mean


def test_noise_has_the_norm_of_the_paper_and_a_sign_of_its_own_by_channel():
    images = np.full((40, 32, 32, 3), 128, np.uint8)
    added = (with_wave(images, 3, 5, np.random.default_rng(0)).astype(float) - 128) / 255
    assert np.linalg.norm(added[0, :, :, 0]) == pytest.approx(4, rel=0.01)
    assert np.sqrt((added**2).mean()) == pytest.approx(RMS, rel=0.01)
    signs = np.sign((added * wave(32, 32, 3, 5)[None, :, :, None]).sum(axis=(1, 2)))
    assert set(np.unique(signs)) == {-1, 1}
    assert 0.3 < (signs[:, 0] == signs[:, 1]).mean() < 0.7


def test_noise_is_clipped_to_levels_of_an_image():
    noisy = with_wave(np.full((1, 8, 8, 3), 250, np.uint8), 1, 0, np.random.default_rng(0))
    assert noisy.dtype == np.uint8
    assert noisy.max() == 255
