import math

import numpy as np
import pytest
from safetensors.numpy import load_file

from reliquant.evaluation.features import Features
from reliquant.evaluation.scores.mcm import score


def test_mcm_equals_the_formula_written_as_loops(world):
    features = world(20)
    for temperature in (0.01, 1.0, 5.0):
        slow = []
        for image in features.image.tolist():
            cosines = [math.fsum(a * b for a, b in zip(image, text, strict=True)) for text in features.text.tolist()]
            powers = [math.exp(c / temperature) for c in cosines]
            slow.append(max(powers) / sum(powers))
        np.testing.assert_allclose(score(features, None, temperature=temperature), slow, rtol=1e-12)


def test_mcm_ignores_the_logit_scale_and_bias(world):
    np.testing.assert_array_equal(score(world(), None), score(world(logit_scale=3.0, logit_bias=-10.0), None))


def test_mcm_has_no_ties_where_single_precision_has_hundreds(world):
    features = world(20_000)
    assert len(np.unique(score(features, None))) == 20_000
    single = np.exp(features.cosine.max(1)) / np.exp(features.cosine).sum(1)
    assert len(np.unique(single)) < 20_000


def test_mcm_ranks_images_of_the_classes_above_others(world):
    inside, outside = score(world(), None), score(world(spread=100.0, seed=1), None)
    assert np.mean(inside[:, None] > outside) > 0.9


def test_mcm_of_one_class_is_one_and_of_no_image_is_empty():
    one = np.ones((1, 1), np.float32)
    assert score(Features(one, one, np.array([0]), 100.0), None).tolist() == [1.0]
    assert score(Features(one[:0], one, np.array([], int), 100.0), None).shape == (0,)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_mcm_refuses_a_temperature_that_is_not_above_zero(world, temperature):
    with pytest.raises(ValueError, match="temperature must be finite and above 0"):
        score(world(3), None, temperature=temperature)


def test_mcm_tells_real_cifar_images_of_held_out_classes_apart(shared_data):
    held = load_file(shared_data / "clip_vit_b_32_openai_cifar10" / "embeddings.safetensors")
    known = held["label"] < 6
    ours = score(Features(held["image"], held["text"][:6], np.where(known, held["label"], -1), 100.0), None)
    assert np.mean(ours[known][:, None] > ours[~known]) > 0.8
