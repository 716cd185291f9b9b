from dataclasses import replace

import numpy as np
import pytest

from reliquant.evaluation.scores.gl_mcm import score
from reliquant.evaluation.scores.mcm import score as mcm


def with_patches(features, patches=9, seed=0):
    field = np.random.default_rng(seed).normal(size=(len(features.image), patches, features.image.shape[1]))
    return replace(features, patches=(field / np.linalg.norm(field, axis=2, keepdims=True)).astype(np.float32))


def test_gl_mcm_equals_the_formula_written_as_loops(world):
    features = with_patches(world(15))
    for temperature, weight in ((1.0, 0.5), (0.05, 1.0)):
        slow = []
        for image, patches in zip(features.image.astype(float), features.patches.astype(float), strict=True):
            best = []
            for feature in [image, *patches]:
                power = np.exp(features.text.astype(float) @ feature / temperature)
                best.append(power.max() / power.sum())
            slow.append(best[0] + weight * max(best[1:]))
        ours = score(features, None, temperature=temperature, weight=weight)
        np.testing.assert_allclose(ours, slow, rtol=1e-10)


def test_gl_mcm_of_weight_zero_is_mcm(world):
    features = with_patches(world())
    np.testing.assert_array_equal(score(features, None, weight=0.0), mcm(features, None))


def test_gl_mcm_sees_a_class_in_one_patch_only(world):
    features = with_patches(world(50, spread=100.0))
    found = features.patches.copy()
    found[:, 4] = features.text[3]
    assert np.mean(score(replace(features, patches=found), None) > score(features, None)) > 0.9


def test_gl_mcm_does_not_depend_on_its_blocks(world):
    features = with_patches(world(120), patches=4000)  # 4000 x 10 cosines: 104 images a block
    whole = score(features, None)
    part = replace(features, image=features.image[90:], label=features.label[90:], patches=features.patches[90:])
    np.testing.assert_allclose(score(part, None), whole[90:], rtol=1e-12)


def test_gl_mcm_says_that_patches_are_missing(world):
    with pytest.raises(ValueError, match="'gl_mcm' needs patch features, and there are none"):
        score(world(3), None)
