import numpy as np

from reliquant.evaluation.scores.max_logit import score


def test_max_logit_of_a_class_direction_itself_is_scale_plus_bias(world):
    features = world(spread=0.0, logit_scale=7.0, logit_bias=-2.0)
    np.testing.assert_allclose(score(features, None), 5.0, atol=1e-5)


def test_max_logit_orders_images_as_the_nearest_class_does(world):
    features = world(500)
    distance = np.linalg.norm(features.image[:, None] - features.text, axis=2).min(1)
    np.testing.assert_array_equal(np.argsort(score(features, None))[::-1][:50], np.argsort(distance)[:50])


def test_max_logit_has_no_ties(world):
    assert len(np.unique(score(world(20_000), None))) == 20_000
