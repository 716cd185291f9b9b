import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from reliquant.evaluation.features import Features
from reliquant.evaluation.records import CHUNK, class_columns, samples_of


def features(n=80, c=6, d=16, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    text = np.random.default_rng(9).normal(size=(c, d))
    label = np.arange(n) % c
    image = text[label] + noise * np.sqrt(d) * rng.normal(size=(n, d))
    unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (image, text)]
    return Features(*unit, label, 20.0)


def max_cosine(found, train):
    return found.cosine.max(axis=1).astype(float)


def test_records_of_images_equal_softmax_written_out():
    f = features(c=12)
    records = samples_of(f, {"cosine": max_cosine})
    p = softmax(f.logits.astype(float), axis=1)
    own = p[np.arange(80), f.label]
    assert records["prediction"].to_list() == p.argmax(axis=1).tolist()
    assert records["confidence"].to_numpy() == pytest.approx(p.max(axis=1), rel=1e-6)
    assert records["nll"].to_numpy() == pytest.approx(-np.log(own), rel=1e-5)
    assert records["brier"].to_numpy() == pytest.approx(((p - np.eye(12)[f.label]) ** 2).sum(axis=1), rel=1e-5)
    assert records["rank"].to_list() == (p > own[:, None]).sum(axis=1).tolist()
    assert records["score:cosine"].to_numpy() == pytest.approx(f.cosine.max(axis=1))


def test_images_without_a_class_have_no_proper_score():
    f = features()
    records = samples_of(Features(f.image, f.text, np.full(80, -1), 20.0), {})
    assert records["nll"].null_count() == records["brier"].null_count() == 80
    assert records["rank"].to_list() == [-1] * 80
    assert samples_of(Features(f.image[:0], f.text, f.label[:0], 20.0), {}).schema == records.schema


def test_records_name_a_label_outside_and_a_score_that_gives_nan():
    f = features()
    with pytest.raises(ValueError, match="label 6 of image 0 is outside the 6 classes"):
        samples_of(Features(f.image, f.text, np.full(80, 6), 20.0), {})
    with pytest.raises(ValueError, match="score broken: 80 of 80 values are NaN"):
        samples_of(f, {"broken": lambda f, train: np.full(80, np.nan)})


def test_more_images_than_a_block_give_the_records_of_each_block():
    f = features(n=CHUNK + 3)
    both = samples_of(f, {})
    last = samples_of(Features(f.image[CHUNK:], f.text, f.label[CHUNK:], f.logit_scale), {})
    assert both["index"].to_list() == list(range(CHUNK + 3))
    assert both[CHUNK:].drop("index").equals(last.drop("index"))


def test_the_likeliest_classes_come_with_their_log_probabilities():
    f = features(n=5, c=20)
    top, top_log_p = (column.to_numpy() for column in class_columns(f, sizes=False))
    expected = log_softmax(f.logits.astype(float), axis=1)
    for i in range(5):
        assert set(top[i]) == set(np.argsort(-expected[i])[:16])
        np.testing.assert_allclose(top_log_p[i], expected[i][top[i]], rtol=1e-6)
