"""A small version of benchmarks/verdicts.py: what readers decide by holds in simulated studies of known truth."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STUDIES = 24  # a verdict that is false in 3 of 10 studies is noticed with a probability of 0.96, of 40 with 0.99
MOST_FALSE, LEAST_POWER = 0.125, 0.7  # of so few studies: 0.05 and 0.8, and about two errors
JUDGED = 40  # studies whose recommendations are counted by confidence, some of each


@pytest.fixture(scope="module")
def verdicts():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("verdicts_benchmark", BENCHMARKS / "verdicts.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


@pytest.fixture(scope="module")
def nulls(verdicts):
    return verdicts.nulls(np.random.default_rng(0), STUDIES)


def test_a_claim_that_is_not_true_is_hardly_ever_supported(nulls):
    false, _ = nulls
    assert {number: rate for number, rate in false.items() if rate > MOST_FALSE} == {}


def test_a_claim_that_is_true_at_the_effect_that_the_page_names_is_mostly_supported(verdicts, nulls):
    power = verdicts.powers(np.random.default_rng(1), STUDIES, nulls[1])
    assert {number: rate for number, rate in power.items() if rate < LEAST_POWER} == {}


def test_a_study_without_any_change_has_hardly_ever_a_star(verdicts):
    assert verdicts.starred(np.random.default_rng(2), STUDIES) <= MOST_FALSE


def test_recommendations_are_right_as_often_as_their_confidence_says(verdicts):
    found = verdicts.reliability(np.random.default_rng(3), JUDGED)
    whole = (found["confidence"] * found["len"]).sum() / found["len"].sum()
    assert whole == pytest.approx((found["right"] * found["len"]).sum() / found["len"].sum(), abs=0.05)
    for line in found.filter(found["len"] >= 50).iter_rows(named=True):
        assert line["confidence"] == pytest.approx(line["right"], abs=0.15), line
