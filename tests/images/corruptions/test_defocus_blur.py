import numpy as np
import pytest
from scipy.ndimage import correlate

from reliquant.images.corruptions.defocus_blur import corruption, disk


def test_disk_of_three_pixels_is_the_points_within_it():
    kernel = disk(3.0, 0.1)  # softened by next to nothing
    inside = kernel > 1e-6
    assert inside.sum() == 29  # lattice points with x^2 + y^2 <= 9
    np.testing.assert_allclose(kernel[inside], 1 / 29, rtol=1e-5)


def test_disk_is_symmetric_and_keeps_about_all_mass():
    for radius, softening in ((0.3, 0.4), (1.5, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)):
        kernel = disk(radius, softening)
        np.testing.assert_allclose(kernel, kernel.T, atol=1e-8)
        np.testing.assert_allclose(kernel, kernel[::-1], atol=1e-8)
        assert kernel.sum() == pytest.approx(
            1, abs=0.014
        )  # where the frame is too small, reflection adds some: published so


@pytest.mark.parametrize("size", [(8, 20), (65, 80)])
def test_defocus_blur_equals_direct_correlation_with_reflected_borders(size, photos, seeds):
    images = photos(1, *size)
    parameters = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
    if min(size) > 64:
        parameters = ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5))
    for severity, given in enumerate(parameters, 1):
        wanted = correlate(images[0].astype(float), disk(*given)[..., None].astype(float), mode="mirror")
        ours = corruption(images, seeds(1), severity=severity)[0]
        assert np.abs(ours + 0.5 - np.clip(wanted, 0, 255.99)).max() <= 0.5 + 2e-3
