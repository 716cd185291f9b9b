import numpy as np
import polars as pl
import pytest

from reliquant.report.existence import Gain, about, absent, some
from reliquant.report.verdict import NotTestable

GAINS = {"x": Gain(1, 0.01, "fraction"), "y": Gain(-1, 0.01, "fraction")}


def joined(x, y, half=0.002):
    """Runs of two measures with intervals of one width."""
    frame = pl.DataFrame({"x": x, "y": y})
    ends = {f"{c}_{end}": pl.col(c) + s * half for c in ("x", "y") for end, s in (("low", -1), ("high", 1))}
    return frame.with_columns(**ends, x_n=pl.lit(500), y_n=pl.lit(500))


def test_one_run_that_gains_in_all_columns_is_enough():
    finding = some(joined([0.05, 0.05, -0.05], [0.05, -0.05, -0.05]), GAINS, "variants")
    assert (finding.verdict, finding.runs, finding.images) == ("supported", 3, 500)
    assert finding.value == pytest.approx(1 / 3)


def test_runs_that_gain_in_one_column_each_are_no_such_run():
    finding = some(joined([0.05, -0.05], [0.05, -0.05]), GAINS, "variants")
    assert finding.verdict == "contradicted"
    assert finding.high == 0.0


def test_runs_that_might_gain_leave_it_open_and_say_what_it_takes():
    finding = some(joined([0.004], [-0.004], half=0.006), GAINS, "variants")
    assert finding.verdict == "too small to tell"
    assert finding.needs > 500
    assert "would need about" in finding.why


def test_more_runs_need_more_evidence():
    few, many = (joined([0.0023] + [0.0] * n, [-0.0023] + [0.0] * n) for n in (0, 50))
    assert some(few, GAINS, "variants").verdict == "supported"
    assert some(many, GAINS, "variants").verdict != "supported"


def test_a_run_without_an_interval_proves_nothing_and_is_counted():
    frame = joined([0.05, 0.0], [-0.05, 0.0])
    frame = frame.with_columns(x_low=pl.when(pl.col("x") == 0).then("x_low"))
    finding = some(frame, GAINS, "variants")
    assert finding.verdict != "supported"
    assert "1 left out, without an interval" in finding.why
    with pytest.raises(NotTestable, match="none of 2 variants has an interval"):
        some(frame.with_columns(x_low=pl.lit(None, pl.Float64)), GAINS, "variants")


def test_no_run_gains_where_all_are_proven_below_the_margin():
    assert absent(joined([0.001, -0.05], [0.0, 0.0]), "x", GAINS["x"])
    assert not absent(joined([0.001, 0.02], [0.0, 0.0]), "x", GAINS["x"])


def test_a_share_is_told_by_the_runs_that_are_proven():
    values = np.where(np.arange(50) < 20, -0.05, 0.05)
    frame = joined(values, values).select(value="x", low="x_low", high="x_high", n="x_n")
    sure = about(frame, -1, unit="fraction")
    assert (sure.verdict, sure.value, sure.low, sure.high) == ("supported", 0.4, 0.4, 0.4)
    wide = frame.with_columns(low=pl.col("value") - 0.2, high=pl.col("value") + 0.2)
    chance = about(wide, -1, unit="fraction")
    assert (chance.verdict, chance.low, chance.high) == ("too small to tell", 0.0, 1.0)


def test_a_share_of_runs_without_any_effect_is_hardly_ever_supported():
    rng = np.random.default_rng(0)
    words = []
    for _ in range(400):
        values = rng.normal(0, 0.01, 40)
        ends = {"low": values - 0.0196, "high": values + 0.0196}
        words.append(about(pl.DataFrame({"value": values, **ends, "n": 100}), -1, unit="fraction").verdict)
    assert np.mean([word == "supported" for word in words]) < 0.05


def test_few_runs_that_gain_much_are_not_about_forty_percent_though_others_seem_to_gain():
    rng = np.random.default_rng(0)
    words = []
    for _ in range(300):
        values = np.where(np.arange(48) < 2, -0.06, 0.0025) + rng.normal(0, 0.01, 48)
        ends = {"low": values - 0.0196, "high": values + 0.0196}
        words.append(about(pl.DataFrame({"value": values, **ends, "n": 100}), -1, unit="fraction").verdict)
    assert "supported" not in words
