from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.special import log_softmax, softmax

from reliquant import plugins
from reliquant.evaluation import records
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


class Read:
    """Rows that are not in memory, as `stored/unit_rows.py` has them."""

    def __init__(self, rows):
        self.rows, self.shape = rows, rows.shape

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, asked):
        assert len(range(*asked.indices(len(self.rows)))) < len(self.rows), "read as a whole"
        return self.rows[asked]


def close(found, expected):
    assert found.columns == expected.columns
    for name in expected.columns:
        np.testing.assert_allclose(
            found[name].to_numpy(), expected[name].to_numpy(), rtol=2e-5, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("name", sorted(set(plugins.names("score")) - {"gl_mcm"}))
def test_images_that_are_read_by_parts_have_the_records_and_scores_of_those_in_memory(monkeypatch, name):
    held = replace(features(n=300), photographs=np.arange(300, dtype=np.uint64), negatives=features(c=40, seed=3).image)
    read = replace(held, image=Read(held.image))
    monkeypatch.setattr(Features.parts, "__defaults__", (70,))
    monkeypatch.setattr(records, "CHUNK", 90)
    score, train = {name: plugins.load("score", {"score": name})}, features(n=200, seed=5)
    close(samples_of(read, score, train=train), samples_of(held, score, train=train))
    found, expected = (pl.DataFrame(class_columns(f, top=False)) for f in (read, held))
    assert found.equals(expected)
    assert not read.in_memory
    assert replace(held, image=held.image).held().image is held.image


def test_training_images_that_are_read_by_parts_are_taken_into_memory(monkeypatch):
    train, held = features(n=200, seed=5), features()
    score = {"vim": plugins.load("score", {"score": "vim"})}
    expected = samples_of(held, score, train=train)
    monkeypatch.setattr(Features.parts, "__defaults__", (70,))
    monkeypatch.setattr(records, "CHUNK", 60)
    monkeypatch.setattr(Read, "__getitem__", lambda self, asked: self.rows[asked])
    read = [replace(f, image=Read(f.image)) for f in (held, train)]
    close(samples_of(read[0], score, train=read[1]), expected)
