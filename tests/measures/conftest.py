"""Records of images that no model made: unit vectors around the classes' texts, with noise; and how to read rows."""

import numpy as np
import polars as pl
import pytest
from scipy.special import softmax

from reliquant.evaluation.features import Features
from reliquant.evaluation.records import samples_of

CELL = {"suite": "clean", "dataset": "d", "reference": "d", "group": "", "corruption": "", "severity": 0}


@pytest.fixture
def features():
    return features_of


@pytest.fixture
def cell():
    return records_of


@pytest.fixture
def noise():
    return noise_of


@pytest.fixture
def detection_samples():
    return detection_samples_of


@pytest.fixture
def value():
    return value_of


def features_of(n=80, c=6, d=16, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    text = np.random.default_rng(9).normal(size=(c, d))
    label = np.arange(n) % c
    image = text[label] + noise * np.sqrt(d) * rng.normal(size=(n, d))
    unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (image, text)]
    return Features(*unit, label, 20.0)


def max_cosine(found, train):
    return found.cosine.max(axis=1).astype(float)


def records_of(seed=0, noise=0.5, n=80, where=CELL, scores=()):
    known = features_of(n=n, seed=seed, noise=noise)
    records = samples_of(known, dict(scores))
    where = {**CELL, **where}
    if where["suite"] == "ood":
        records = records.with_columns(label=pl.lit(-1, pl.Int32))
    return records.with_columns(**{k: pl.lit(v) for k, v in where.items()})


def noise_of(level, n=60):
    parts = [
        records_of(seed=s, noise=level * (1 + s / 4), n=n, where={"suite": "noise", "corruption": c, "severity": s})
        for c in ("fog", "snow")
        for s in (1, 2)
    ]
    return pl.concat(parts).with_columns(severity=pl.col("severity").cast(pl.Int8))


def detection_samples_of(noise, seed=0):
    scores = {"cosine": max_cosine}.items()
    away = {"suite": "ood", "dataset": "o", "group": "near"}
    return pl.concat(
        [records_of(noise=noise, scores=scores), records_of(noise=20.0, seed=seed + 5, where=away, scores=scores)]
    )


def value_of(found, measure, column="value", **where):
    chosen = found.filter(pl.col("measure") == measure, *(pl.col(k) == v for k, v in where.items()))
    assert len(chosen) == 1, (measure, where, len(chosen))
    return chosen[column].item()


@pytest.fixture(scope="module")
def spoiled():
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(400, 5))
    label = (logits + 1.5 * rng.gumbel(size=(400, 5))).argmax(axis=1)
    return logits, softmax(logits, axis=1), label
