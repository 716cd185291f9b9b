from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from reliquant.evaluation.features import Features
from reliquant.evaluation.scores.energy import score as energy
from reliquant.evaluation.scores.react import score


def test_react_at_the_hundredth_percentile_of_the_images_themselves_is_energy(world):
    np.testing.assert_array_equal(score(world(), world(), percentile=100.0), energy(world(), None))


def test_react_equals_the_formula_written_out(world):
    features, train = world(), world(300, seed=2)
    threshold = np.sort(train.image.ravel())[int(0.9 * (train.image.size - 1))]
    logits = 20.0 * np.minimum(features.image, threshold).astype(float) @ features.text.T.astype(float)
    np.testing.assert_allclose(
        score(features, train), np.log(np.exp(logits).sum(1)), rtol=1e-3
    )  # percentiles interpolate


def test_react_removes_a_coordinate_that_all_images_share(world):
    features, strange, train = world(seed=1), world(spread=100.0, seed=3), world(300, seed=2)

    def shared(
        held: Features,
    ) -> Features:  # one more coordinate, large and noisy in images, weakly read by the classes
        size = np.random.default_rng(len(held.image)).uniform(1, 3, size=(len(held.image), 1))
        text = np.column_stack([held.text, np.ones(10)])
        return replace(held, image=np.column_stack([held.image, size]).astype(np.float32), text=text.astype(np.float32))

    inside, outside = shared(features), shared(strange)
    cut = score(inside, shared(train))[:, None] > score(outside, shared(train))
    assert np.mean(cut) > np.mean(energy(inside, None)[:, None] > energy(outside, None)) + 0.1


@pytest.mark.parametrize("percentile", [-1.0, 100.5])
def test_react_refuses_a_percentile_out_of_range(world, percentile):
    with pytest.raises(ValueError, match=f"percentile must be in 0 .. 100, got {percentile}"):
        score(world(3), world(9), percentile=percentile)


def test_react_says_that_training_features_are_missing(world):
    with pytest.raises(ValueError, match="'react' fits on in-distribution training features"):
        score(world(3), None)


def test_react_helps_on_real_clip_features_with_four_classes_held_out(shared_data):
    held = load_file(shared_data / "clip_vit_b_32_openai_cifar10" / "embeddings.safetensors")
    image, label = held["image"], held["label"]
    gains = []
    for first in range(10):
        out = np.isin(label, (np.arange(4) + first) % 10)
        text = held["text"][np.setdiff1d(np.arange(10), (np.arange(4) + first) % 10)]
        features = Features(image, text, np.full(len(label), -1), 100.0)
        train = Features(image[~out][::2], text, label[~out][::2], 100.0)
        rates = [np.mean(s[~out][1::2, None] > s[out]) for s in (score(features, train), energy(features, None))]
        gains.append(rates[0] - rates[1])
    assert np.mean(gains) > 0
