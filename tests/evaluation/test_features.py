import numpy as np
import pytest

from reliquant.evaluation.features import Features

UNIT = np.eye(2, dtype=np.float32)


def test_similarities_logits_and_probabilities_of_one_image_by_hand():
    image = np.array([[0.6, 0.8]], np.float32)
    features = Features(image, UNIT, np.array([0]), 5.0, logit_bias=-1.0)
    assert features.cosine.tolist() == [pytest.approx([0.6, 0.8])]
    assert features.logits.tolist() == [pytest.approx([2.0, 3.0])]
    assert features.probabilities.tolist() == [pytest.approx([1 / (1 + np.e), np.e / (1 + np.e)])]


@pytest.mark.parametrize("name", ["image", "text", "patches", "negatives"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_named(name, bad):
    arrays = {"image": UNIT, "text": UNIT, "label": np.array([0, 1]), "patches": UNIT[:, None], "negatives": UNIT}
    broken = arrays[name].copy()
    broken.flat[0] = bad
    with pytest.raises(ValueError, match=f"{name} features hold NaN or infinite values"):
        Features(**{**arrays, name: broken}, logit_scale=1.0)


def test_shapes_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match=r"image features \(2, 2\) and text features \(2, 3\) differ in width"):
        Features(UNIT, np.ones((2, 3), np.float32), np.array([0, 1]), 1.0)
    with pytest.raises(ValueError, match="3 labels for 2 images"):
        Features(UNIT, UNIT, np.array([0, 1, 1]), 1.0)
