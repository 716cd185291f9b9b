import numpy as np
import pytest
from scipy.stats import chisquare, poisson

from reliquant.images.corruptions.shot_noise import alias, corruption


@pytest.mark.parametrize("c", [3, 5, 60, 500])
def test_alias_tables_hold_the_poisson_masses_exactly(c):
    keep, other, bits = (part.reshape(256, -1) if isinstance(part, np.ndarray) else part for part in alias(c))
    for value in (0, 1, 77, 255):
        mass = keep[value] / 2**32
        np.add.at(mass, other[value], 1 - keep[value] / 2**32)
        mean = value * c / 255
        wanted = np.append(poisson.pmf(np.arange(c), mean), poisson.sf(c - 1, mean))
        np.testing.assert_allclose(mass[: c + 1] / 2**bits, wanted, atol=1e-8)
        assert mass[c + 1 :].sum() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("side", "photons"), [(32, (500, 250, 100, 75, 50)), (65, (60, 25, 12, 5, 3))])
def test_shot_noise_draws_poisson_counts(side, photons, seeds):
    images = np.full((40, side, side, 3), 77, np.uint8)
    for severity, c in enumerate(photons, 1):
        shown = corruption(images, seeds(40), severity=severity)
        levels = np.floor(np.minimum(np.arange(c + 1) / c, 1) * 255 + 1e-9)
        chance = np.append(poisson.pmf(np.arange(c), 77 * c / 255), poisson.sf(c - 1, 77 * c / 255))
        expected = np.bincount(levels.astype(int), chance, minlength=256) * shown.size
        counts = np.bincount(shown.ravel(), minlength=256)
        often = expected > 20
        assert counts[expected < 1e-9].sum() == 0
        pooled = [np.append(part[often], part[~often].sum()) for part in (counts, expected)]
        if pooled[1][-1] < 5:
            pooled = [part[:-1] for part in pooled]
            pooled[1] *= pooled[0].sum() / pooled[1].sum()
        assert chisquare(*pooled).pvalue > 1e-4
