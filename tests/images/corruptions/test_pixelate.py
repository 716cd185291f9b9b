import numpy as np

from reliquant.images.corruptions.pixelate import corruption


def test_pixelate_by_a_quarter_averages_blocks_of_four(photos, seeds):
    images = photos(1, 80, 96)
    blocks = images[0].reshape(20, 4, 24, 4, 3).mean(axis=(1, 3))
    wanted = np.repeat(np.repeat(blocks, 4, axis=0), 4, axis=1)
    ours = corruption(images, seeds(1), severity=5)[0]
    assert np.abs(ours - wanted).max() <= 1  # Pillow rounds after each direction


def test_pixelate_leaves_as_many_columns_as_the_parameters_say(photos, seeds):
    images = photos(1, 100, 100)
    for severity, c in enumerate((0.6, 0.5, 0.4, 0.3, 0.25), 1):
        ours = corruption(images, seeds(1), severity=severity)[0].astype(int)
        changes = (np.abs(np.diff(ours, axis=1)).sum(axis=(0, 2)) > 0).sum()
        assert changes >= int(100 * c) - 1
        if c in (0.5, 0.25):
            assert changes == int(100 * c) - 1
