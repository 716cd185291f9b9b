import numpy as np
import pytest

from reliquant import plugins
from reliquant.images.corrupting import image_seeds
from reliquant.images.prepare import load
from reliquant.steps import corrupt


@pytest.mark.parametrize("batch", [64, 2])
def test_each_severity_of_each_image_is_as_the_corruption_makes_it_alone(run, prepared, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(corrupt, "BATCH", batch)
    words = {"corruption": "shot_noise", "severities": [1, 4]}
    run(corrupt, prepared=prepared, **words, output=tmp_path / "noise.npy")
    images, corrupted = load(prepared).images, np.load(tmp_path / "noise.npy")
    assert (corrupted.shape, corrupted.dtype) == ((2, 9, 32, 32, 3), np.uint8)
    for i, severity in enumerate(words["severities"]):
        alone = plugins.load("corruption", {"corruption": "shot_noise", "severity": severity})
        for index in range(9):
            seed = image_seeds(np.array([index]), "shot_noise")
            np.testing.assert_array_equal(corrupted[i, index], alone(images[index : index + 1], seed)[0])


def test_fewer_images_are_some_of_all_and_corrupted_as_among_them(run, prepared, tmp_path):
    words = {"prepared": prepared, "corruption": "gaussian_noise", "severities": [3]}
    run(corrupt, **words, output=tmp_path / "all.npy")
    run(corrupt, **words, images=4, output=tmp_path / "some.npy")
    every, some = np.load(tmp_path / "all.npy")[0], np.load(tmp_path / "some.npy")[0]
    assert len(some) == 4
    assert all(any(np.array_equal(image, other) for other in every) for image in some)
