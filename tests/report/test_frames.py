import numpy as np
import polars as pl
import pytest
import scipy.stats

from reliquant.report import frames
from reliquant.report.synthetic import Shape, rows

LABELS = {
    "model": "m",
    "source": "s",
    "scheme": "rtn",
    "family": "f",
    "precision": "w8a8",
    "scope": "image",
    "proxy": "p",
}


def lines(**columns):
    return pl.DataFrame(columns).with_columns(
        **{k: pl.lit(v) for k, v in LABELS.items()}, seed=pl.lit(0), measure=pl.lit("x")
    )


def test_without_replicates_the_ends_are_averaged_whatever_the_rows_share():
    frame = lines(dataset=["a", "b"], value=[0.1, 0.3], low=[0.07, 0.26], high=[0.13, 0.34], n=[100, 200])
    row = frames.mean_of_sets(frame).row(0, named=True)
    assert row["value"] == pytest.approx(0.2)
    assert (row["low"], row["high"]) == (pytest.approx(0.165), pytest.approx(0.235))
    assert (row["n"], row["sets"], row["replicates"]) == (150, "a, b", None)  # images of a set, on average


def test_cells_of_one_set_do_not_narrow_the_interval():
    frame = lines(dataset=["a", "a"], value=[0.1, 0.3], low=[0.0, 0.2], high=[0.2, 0.4], n=[100, 100])
    row = frames.mean_of_sets(frame).row(0, named=True)
    assert (row["low"], row["high"], row["n"]) == (pytest.approx(0.1), pytest.approx(0.3), 100)


def test_an_unknown_interval_makes_the_means_unknown():
    frame = lines(dataset=["a", "b"], value=[0.1, 0.3], low=[0.0, None], high=[0.2, None], n=[1, 1])
    assert frames.mean_of_sets(frame).row(0, named=True)["low"] is None


def test_values_that_are_not_finite_and_variants_on_the_way_are_left_out():
    frame = rows(Shape(seeds=(0,), corruptions=()))
    broken = frame.with_columns(value=pl.when(pl.col("dataset") == "shapes").then(float("nan")).otherwise("value"))
    found = frames.select(broken, "accuracy")
    assert "shapes" not in found["dataset"]
    assert found["iteration"].null_count() == found.height


def test_noise_is_read_from_its_means():
    found = frames.select(rows(Shape(seeds=(0,))), "accuracy_change", suite="noise")
    assert set(found["corruption"]) == {"mean"}
    assert found.height == 4 * 3 * 3 * 2


def test_the_spread_of_seeds_widens_a_mean_over_runs_and_that_of_schemes_does_not():
    values = {"value": [0.4, 0.5, 0.6], "low": [0.36, 0.46, 0.56], "high": [0.44, 0.54, 0.64], "n": [9, 9, 9]}
    seeds = frames.mean_of_runs(lines(**values).with_columns(seed=pl.Series([0, 1, 2])), ["source"]).row(0, named=True)
    half = (0.04**2 + (4.303 * 0.1 / 3**0.5) ** 2) ** 0.5  # t of two degrees of freedom
    assert (seeds["low"], seeds["high"]) == (pytest.approx(0.5 - half, 1e-4), pytest.approx(0.5 + half, 1e-4))
    assert (seeds["value"], seeds["runs"], seeds["n"]) == (pytest.approx(0.5), 3, 9)
    schemes = lines(**values).with_columns(scheme=pl.Series(["a", "b", "c"]))
    plain = frames.mean_of_runs(schemes, ["source"]).row(0, named=True)
    assert (plain["low"], plain["high"], plain["runs"]) == (pytest.approx(0.46), pytest.approx(0.54), 3)


def test_seeds_are_averaged_within_what_is_the_same_before_all_else():
    frame = lines(value=[0.0, 0.2, 1.0], low=[0.0] * 3, high=[1.0] * 3, n=[1] * 3)
    frame = frame.with_columns(seed=pl.Series([0, 1, 0]), scheme=pl.Series(["lsq", "lsq", "rtn"]))
    row = frames.mean_of_runs(frame, ["source"]).row(0, named=True)
    assert (row["value"], row["runs"]) == (pytest.approx(0.55), 3)  # (0.1 + 1.0) / 2


def test_seeds_without_intervals_have_none():
    frame = lines(value=[0.1, 0.3], low=[None, 0.2], high=[None, 0.4], n=[1, 1]).with_columns(seed=pl.Series([0, 1]))
    assert frames.mean_of_runs(frame, ["source"]).row(0, named=True)["low"] is None


def test_stars_over_seeds_are_those_of_students_t():
    values = {"value": [-0.020, -0.022, -0.018], "low": [-0.021, -0.023, -0.019], "high": [-0.019, -0.021, -0.017]}
    frame = lines(**values, n=[9, 9, 9]).with_columns(seed=pl.Series([0, 1, 2]))
    row = frames.mean_of_runs(frame, ["source"]).row(0, named=True)
    p = frames.p_value(row["value"], row["low"], row["high"], row["freedom"])
    part, images = 0.002**2 / 3, (0.001 / 1.96) ** 2
    assert row["freedom"] == pytest.approx(2 * ((part + images) / part) ** 2, rel=1e-3)
    half = (row["high"] - row["low"]) / 2
    assert p == pytest.approx(
        2 * scipy.stats.t.sf(0.02 / half * scipy.stats.t.ppf(0.975, row["freedom"]), row["freedom"])
    )
    assert 0.001 < p < 0.01  # by the normal approximation it would have three stars


def test_a_single_run_beside_several_seeds_keeps_its_ends():
    frame = lines(value=[0.010, 0.1, 0.2], low=[0.015, 0.0, 0.1], high=[0.030, 0.2, 0.3], n=[1, 1, 1])
    frame = frame.with_columns(scheme=pl.Series(["fp32", "lsq", "lsq"]), seed=pl.Series([0, 0, 1]))
    row = frames.mean_of_runs(frame, ["scheme"]).filter(scheme="fp32").row(0, named=True)
    assert (row["low"], row["high"]) == (0.015, 0.030)


def explained(model, scale, bins):
    """Rows of one model: per bin its confidence, accuracy and number of images."""
    parts = []
    for number, (confidence, accuracy, n) in bins.items():
        for measure, value in (("confidence", confidence), ("accuracy", accuracy)):
            words = {"group": f"bin {number}", "measure": f"reliability_{measure}", "value": value, "n": n}
            parts.append({**LABELS, "model": model, "seed": 0, "scale": scale, "suite": "explain", **words})
    return pl.DataFrame(parts).with_columns(dataset=pl.lit("d"), iteration=pl.lit(None, pl.Int64))


def test_bins_are_averaged_over_models_by_their_images():
    frame = pl.concat(
        [
            explained("a", "native", {2: (0.2, 0.1, 30), 10: (1.0, 0.9, 5)}),
            explained("b", "native", {2: (0.3, 0.5, 10)}),
            explained("a", "tuned", {2: (0.15, 0.1, 30)}),
        ]
    )
    bins = frames.binned(frame, "reliability").select("scale", "bin", "confidence", "accuracy", "n").rows()
    assert bins == [
        ("native", 2, pytest.approx((0.2 * 30 + 0.3 * 10) / 40), pytest.approx((0.1 * 30 + 0.5 * 10) / 40), 40),
        ("native", 10, 1.0, 0.9, 5),
        ("tuned", 2, 0.15, 0.1, 30),
    ]
    assert frames.binned(frame, "trajectory").is_empty()


def test_recorded_rows_keep_what_was_read_of_them_and_nothing_else():
    frame = rows(Shape(seeds=(0,), corruptions=())).with_columns(pl.col("model").cast(pl.Categorical))
    recorded = frames.Recorded(frame)
    accuracy = frames.select(recorded, "accuracy")
    ranks = frames.matching(recorded, r"^sqnr_rank_0$")
    frames.select(recorded, "accuracy")
    assert list(recorded.read) == [("clean", "native", "accuracy"), ("explain", "native", r"^sqnr_rank_0$")]
    assert [read.height for read in recorded.read.values()] == [accuracy.height, ranks.height]
    assert accuracy.equals(frames.select(frame, "accuracy"))
    assert accuracy["model"].dtype == pl.String
    assert frames.Recorded(frame).read == {}


def test_a_skewed_interval_has_a_star_just_where_it_leaves_0_out():
    assert frames.p_value(1.0, 1e-9, 9.0) < 0.05 < frames.p_value(1.0, -1e-9, 1.5)
    assert frames.p_value(-1.0, -9.0, -1e-9) < 0.05 < frames.p_value(-1.0, -1.5, 1e-9)
    assert np.isnan(frames.p_value(1.0, 1.0, 2.0))
