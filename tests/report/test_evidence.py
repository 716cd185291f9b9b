import numpy as np
import polars as pl
import pytest

from reliquant.files.artifacts import KEPT, ROW_SCHEMA
from reliquant.report import evidence

LABELS = {"model": "m", "source": "s", "family": "f", "precision": "w8a8", "scope": "image", "proxy": "p", "seed": 0}
KIND = ROW_SCHEMA["replicates"]


def runs(values, half=0.1, deviations=None):
    """One run per value, with replicates where deviations (runs, KEPT) are given."""
    frame = pl.DataFrame({"value": values, "scheme": [f"s{i}" for i in range(len(values))]})
    kept = pl.lit(None, KIND)
    if deviations is not None:
        kept = pl.Series((np.asarray(values)[:, None] + deviations).astype(np.float32), dtype=KIND)
    ends = {"low": pl.col("value") - half, "high": pl.col("value") + half}
    labels = {name: pl.lit(word) for name, word in LABELS.items()}
    return frame.with_columns(**ends, replicates=kept, n=pl.lit(900), **labels)


def test_runs_without_an_interval_are_left_out_and_named():
    frame = runs([1.0, 2.0, 3.0])
    frame = frame.with_columns(low=pl.when(pl.col("scheme") != "s1").then("low"))
    kept, said = evidence.known(frame)
    assert kept["scheme"].to_list() == ["s0", "s2"]
    assert said == "1 of 3 runs left out, without an interval: m s1 w8a8 image 0"
    assert evidence.known(kept)[1] == ""


def test_the_mean_of_runs_that_share_their_luck_is_as_uncertain_as_one_of_them():
    shared = np.random.default_rng(0).normal(0, 1, (1, KEPT))
    same = evidence.mean(runs([1.0, 2.0, 3.0], deviations=np.repeat(shared, 3, axis=0)))
    own = evidence.mean(runs([1.0, 2.0, 3.0], deviations=np.random.default_rng(1).normal(0, 1, (3, KEPT))))
    assert (same.value, same.runs, same.images) == (2.0, 3, 900)
    assert (same.high - same.low) / (own.high - own.low) == pytest.approx(3**0.5, rel=0.2)


def test_pairs_that_share_their_luck_differ_more_surely_than_each_is_known():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(0, 1, (2, KEPT)), rng.normal(0, 0.1, (2, KEPT))
    first, second = runs([1.5, 2.5], 2.0, shared + own), runs([1.0, 2.0], 2.0, shared)
    gap = evidence.paired(first, second, ["scheme"])
    assert gap["value"].to_list() == pytest.approx([0.5, 0.5])
    assert gap["low"].to_list() == pytest.approx((0.5 - 1.96 * own.std(axis=1, ddof=1)).tolist(), rel=0.01)


def test_pairs_without_replicates_add_their_widths():
    gap = evidence.paired(runs([1.0], 0.1), runs([0.4], 0.2), ["scheme"])
    assert gap.select("low", "high").row(0) == pytest.approx((0.3, 0.9))


def test_a_run_is_proven_beyond_its_interval_and_needs_more_among_many():
    z = evidence.scores(runs([0.15], half=0.1))
    assert z[0] == pytest.approx(0.15 / 0.1 * 1.96, abs=1e-3)
    assert evidence.proven(z).tolist() == [True]
    many = evidence.scores(runs([0.15] + [0.0] * 99, half=0.1))
    assert not evidence.proven(many).any()
    assert not evidence.proven(-z).any()
    assert evidence.scores(runs([0.15], half=0.1), beyond=0.15)[0] == 0


def test_of_a_skewed_interval_the_side_towards_the_bound_counts():
    frame = runs([0.15]).with_columns(low=pl.lit(0.0), high=pl.lit(0.9))
    assert evidence.scores(frame)[0] == pytest.approx(1.96, abs=1e-3)
    assert evidence.scores(frame, -1, beyond=0.9)[0] == pytest.approx(1.96, abs=1e-3)


def test_a_run_without_an_interval_is_not_proven_and_counts_as_no_test():
    z = np.array([2.1, np.nan])
    assert evidence.proven(z).tolist() == [True, False]


def test_of_runs_without_effect_one_in_forty_studies_proves_one():
    rng = np.random.default_rng(0)
    found = [evidence.proven(rng.standard_t(evidence.FREEDOM, 20)).any() for _ in range(2000)]
    assert np.mean(found) == pytest.approx(0.025, abs=0.008)


def test_four_times_the_images_halve_the_interval():
    one, four = (evidence.needed(1000, half, 0.01, power=0.8) for half in (0.02, 0.04))
    assert four == pytest.approx(4 * one, rel=0.05)
    assert evidence.needed(0, 0.1, 0.1, power=0.8) is None
    assert evidence.needed(1000, 0.1, 0.0, power=0.8) is None
