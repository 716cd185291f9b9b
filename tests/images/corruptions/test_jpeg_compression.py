from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from reliquant.images.corruptions.jpeg_compression import corruption


@pytest.mark.parametrize(("side", "qualities"), [(32, (80, 65, 58, 50, 40)), (66, (25, 18, 15, 10, 7))])
def test_jpeg_compression_is_pillows_round_trip_at_the_published_quality(side, qualities, photos, seeds, tmp_path):
    images = photos(2, side, side)
    for severity, quality in enumerate(qualities, 1):
        file = tmp_path / f"{quality}.jpg"
        Image.fromarray(images[1]).save(file, quality=quality)
        np.testing.assert_array_equal(corruption(images, seeds(2), severity=severity)[1], np.array(Image.open(file)))


def test_jpeg_compression_makes_a_smaller_file_each_step(photos, seeds):
    images, sizes = photos(1, 128, 128), []
    for severity in (1, 2, 3, 4, 5):
        file = BytesIO()
        Image.fromarray(corruption(images, seeds(1), severity=severity)[0]).save(file, "PNG")
        sizes.append(len(file.getvalue()))
    assert sizes == sorted(sizes, reverse=True)
