"""Rows of arrays so small that every value can be worked out by hand."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_1samp

from reliquant.evaluation.explain_row import change, mean, resamples_of, row, share
from reliquant.measures.rows import rows as measured_rows
from reliquant.measures.stats import normal_test, wilson

INFLUENCE = np.array([1.0, 2.0, 3.0, 6.0])


def test_a_row_has_the_interval_of_its_kind_and_p_only_where_it_is_a_change():
    low, high, p = normal_test(0.5, INFLUENCE.var(ddof=1) / 4)
    plain = row("x", 0.5, INFLUENCE, 4)
    words = {"measure": "x", "group": "", "scale": "native", "value": 0.5, "low": low, "high": high, "p": None, "n": 4}
    assert plain == words | {"replicates": None}
    assert row("x", 0.5, INFLUENCE, 4, kind="change")["p"] == p
    found = share("right", np.array([True, True, False, True]), group="dog")
    values = np.array([1.0, 1.0, 0.0, 1.0])
    assert (found["low"], found["high"]) == wilson(0.75, values.var(ddof=1) / 4, 4)
    assert found["group"] == "dog"


def test_what_is_not_known_is_none_and_not_nan():
    found = row("sqnr", np.inf, None, 3)
    assert (found["value"], found["low"], found["high"], found["p"], found["n"]) == (None, None, None, None, 3)


def test_the_mean_of_a_plain_value_has_a_normal_interval():
    found = mean("margin", INFLUENCE)
    half = 1.959964 * INFLUENCE.std(ddof=1) / 2
    assert (found["value"], found["low"], found["high"]) == pytest.approx((3.0, 3 - half, 3 + half))


def test_no_answer_that_moved_is_no_proof_of_no_change():
    right = np.ones(50, bool)
    found = change("accuracy_rank_0_8", right, right)
    assert (found["value"], found["p"]) == (0.0, 1.0)
    assert found["high"] == pytest.approx(1.959964 / 50)
    margins = change("margin", np.ones(50), np.ones(50))
    assert (margins["low"], margins["high"]) == (0.0, 0.0)  # nothing flips where nothing is right or wrong


def test_headline_rows_keep_replicates_whose_spread_is_their_interval():
    rng = np.random.default_rng(0)
    label = np.arange(400) % 10
    shared = resamples_of(np.arange(400, dtype=np.uint64), label)
    before, after = rng.random((2, 400)) < 0.7
    found = change("accuracy_rank_0_8", after, before, resamples=shared)
    p = ttest_1samp(after.astype(float) - before, 0).pvalue
    assert found["p"] == pytest.approx(p, rel=0.1)
    half = (found["high"] - found["low"]) / 2
    assert 1.96 * found["replicates"].std(ddof=1) == pytest.approx(half, rel=0.15)
    assert found["replicates"].mean() == pytest.approx(found["value"], abs=half / 4)
    assert change("margin", rng.random(400), rng.random(400), resamples=shared)["replicates"] is None


def test_replicates_are_in_the_resamples_that_the_measures_of_the_same_photographs_are_in():
    rng = np.random.default_rng(1)
    photograph, label = rng.integers(0, 2**63, 300, dtype=np.uint64), np.arange(300) % 10
    right = rng.random(300) < 0.6
    found = share("accuracy_rank_0_8", right, resamples=resamples_of(photograph, label))
    place = {"suite": "clean", "dataset": "d", "reference": "d", "group": "", "corruption": ""}
    records = pl.DataFrame({
        "index": np.arange(300),
        "label": label,
        "prediction": np.where(right, label, (label + 1) % 10),
        "confidence": rng.uniform(0.2, 1, 300),
        "rank": np.where(right, 0, 1),
        "nll": rng.random(300),
        "brier": rng.random(300),
        "photograph": photograph,
    }).with_columns(severity=pl.lit(0, pl.Int8), **{name: pl.lit(word) for name, word in place.items()})  # fmt: skip
    measured = measured_rows(records, None, resamples=10).filter(measure="accuracy")["replicates"].to_numpy()[0]
    assert np.corrcoef(measured, found["replicates"])[0, 1] > 0.999
