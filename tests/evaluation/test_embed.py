from dataclasses import replace

import numpy as np
import pytest

from reliquant.evaluation.embed import embed_images
from reliquant.evaluation.records import samples_of
from reliquant.evaluation.zero_shot import image_features, text_head
from reliquant.images.dataset import Dataset
from reliquant.images.prepare import load, prepare


@pytest.fixture
def images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    data = Dataset(["cat", "dog"], ["one {}", "two {}"], np.arange(6) % 2, pixels.__getitem__, list("abcdef"))
    prepare(data, tmp_path / "x", form="native", entry={"dataset": "x"})
    return load(tmp_path / "x")


def test_the_templates_are_the_datasets_own_unless_others_are_given(vit, images):
    own = embed_images(vit, images)
    np.testing.assert_array_equal(own.text, text_head(vit, ["cat", "dog"], ["one {}", "two {}"]))
    np.testing.assert_array_equal(own.image, image_features(vit, images.images))
    given = embed_images(vit, images, templates=["a photo of a {}."])
    np.testing.assert_array_equal(given.text, text_head(vit, ["cat", "dog"], ["a photo of a {}."]))
    assert not np.allclose(own.text, given.text)


@pytest.mark.parametrize("templates", [["a photo"], ["a {c}"], [], ["a {}", "a {} {}"]])
def test_wrong_templates_are_refused(vit, images, templates):
    with pytest.raises(ValueError, match=r"must hold \{\} once|must be a list of at least one"):
        embed_images(vit, images, templates=templates)


def test_images_without_classes_are_refused_but_beside_others(vit, images):
    features = embed_images(vit, images)
    images.meta["label_problem"] = "b: label -1 is outside the 2 classes"
    with pytest.raises(ValueError, match="'x'}: b: label -1 is outside the 2 classes"):
        embed_images(vit, images)
    beside = embed_images(vit, images, beside=features)
    assert beside.label.tolist() == [-1] * 6
    np.testing.assert_array_equal(beside.text, features.text)


def test_features_know_which_photographs_they_are_of(vit, images):
    features = embed_images(vit, images)
    beside = embed_images(vit, images, beside=features)
    assert len(set(images.photographs.tolist())) == 6
    for embedded in (features, beside):
        assert samples_of(embedded, {})["photograph"].to_list() == images.photographs.tolist()
    unknown = embed_images(vit, replace(images, photographs=None))
    assert "photograph" not in samples_of(unknown, {}).columns
