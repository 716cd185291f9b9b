"""Stored embeddings as features."""

from pathlib import Path

import numpy as np
import pytest

from reliquant import plugins
from reliquant.evaluation.measure import measure_features
from reliquant.stored.column import column_of
from reliquant.stored.features import features_of, labels_of, probabilities_doubted
from reliquant.stored.read import Table


def table(**arrays):
    return Table(Path("x.npz"), {key: column_of(np.asarray(array)) for key, array in arrays.items()}, ())


def arrays(n=6, c=3, d=4):
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(n, d)), rng.normal(size=(c, d))
    return {"image": image, "text": text, "label": np.arange(n) % c, "logit_scale": [20.0]}


def test_rows_have_unit_length_in_float32():
    found, stored = features_of(table(**arrays())), arrays()
    expected = stored["image"] / np.sqrt((stored["image"] ** 2).sum(axis=1, keepdims=True))
    assert np.allclose(found.image[:], expected, atol=1e-7)
    assert found.image.dtype == np.float32
    assert found.logit_scale == 20
    assert found.label.tolist() == [0, 1, 2, 0, 1, 2]


def test_images_beside_the_head_of_another_table_have_no_class():
    other = table(image=arrays()["image"], label=[7] * 6)
    assert features_of(other, table(**arrays())).label.tolist() == [-1] * 6
    with pytest.raises(ValueError, match="label 7 of image 0 is outside the 3 classes"):
        features_of(other, table(**arrays()), labelled=True)


def test_names_of_classes_are_numbered_where_the_classes_are_known():
    words = {**arrays(), "label": ["dog", "cat", "dog", "cow", "cat", "cat"]}
    with pytest.raises(ValueError, match=r"x\.npz: label holds names, and which number each class has is not known"):
        features_of(table(**words))
    known = table(**words, classes=["dog", "cat", "cow"])
    assert labels_of(known, 6).tolist() == [0, 1, 0, 2, 1, 1]
    assert labels_of(table(**words), 6, classes=["cow", "dog", "cat"]).tolist() == [1, 2, 1, 0, 2, 2]
    with pytest.raises(ValueError, match=r"x\.npz: label 'cow' of image 3 is none of the 2 classes"):
        labels_of(table(**words), 6, classes=["dog", "cat"])


def test_names_of_classes_may_lie_in_a_file_beside_the_table(tmp_path):
    words = Table(tmp_path / "x.npz", {"label": column_of(np.array(["dog", "cat"]))}, ())
    (tmp_path / "classes.json").write_text('["dog", "cow", "cat"]')
    assert labels_of(words, 2).tolist() == [0, 2]


def test_a_table_that_is_not_held_gives_the_measures_of_one_that_is():
    rng = np.random.default_rng(1)
    text, label = rng.normal(size=(5, 8)), rng.integers(0, 5, 400)
    stored = table(image=text[label] + rng.normal(size=(400, 8)), text=text, label=label, logit_scale=[10.0])
    other = table(image=rng.normal(size=(90, 8)))
    score = {"msp": plugins.load("score", {"score": "msp"})}
    found = []
    for held in (2**28, 0):
        features = features_of(stored, held=held)
        assert features.in_memory == bool(held)
        found.append(measure_features(features, {"ood": features_of(other, stored, held=held)}, score, resamples=100))
    assert found[0].keys() == found[1].keys()
    for name, values in found[0].items():
        assert values.keys() == found[1][name].keys()
        for measure, value in values.items():
            assert found[1][name][measure]["value"] == pytest.approx(value["value"], rel=1e-4, abs=1e-5), measure


def test_logits_that_look_like_probabilities_are_doubted():
    logits = np.random.default_rng(0).normal(size=(5, 3))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    def told(values):
        return probabilities_doubted(Table(Path("q.npz"), {"logits": column_of(values)}, ()))

    assert told(logits) == told(shares[:, :2]) == told(np.log(shares)) == []
    (doubt,) = told(shares.astype(np.float16))
    assert doubt.startswith("q.npz: logits are from 0 to 1 and sum to 1 in each row")
    assert doubt.endswith("(--names probabilities=logits)")
