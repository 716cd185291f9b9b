import numpy as np
import polars as pl
import pytest
from scipy.stats import t

from reliquant.files.artifacts import KEPT, REPLICATES
from reliquant.measures.resampling import linear, weights
from reliquant.report import averages, frames

BASE = {"g": "a", "value": 0.0, "low": -1.0, "high": 1.0}


def frame(tables, **columns):
    """Rows with given replicates, (KEPT,) each or None."""
    kept = pl.Series([None if one is None else list(map(float, one)) for one in tables], dtype=REPLICATES)
    words = {name: [value] * len(tables) for name, value in BASE.items()} | columns
    return pl.DataFrame({**words, "replicates": kept})


def test_the_interval_of_a_mean_is_that_of_the_means_replicates():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=KEPT), rng.normal(size=(3, KEPT))
    value, half = np.array([0.1, 0.2, 0.6]), 1.96 * (shared + own).std(axis=1, ddof=1)
    mean = averages.averaged(frame(shared + own, value=value, low=value - half, high=value + half), ["g"])
    expected = (shared + own).mean(axis=0)
    assert mean["value"].to_list() == pytest.approx([0.3])
    assert (mean["high"] - mean["value"]).to_list() == pytest.approx([1.96 * expected.std(ddof=1)], rel=1e-3)
    assert (mean["value"] - mean["low"]).to_list() == pytest.approx([1.96 * expected.std(ddof=1)], rel=1e-3)
    assert np.array(mean["replicates"][0]) == pytest.approx(expected, abs=1e-6)


def test_each_side_of_a_mean_is_made_of_its_rows_sides():
    apart = np.array([np.tile([1.0, -1.0, 1.0, -1.0], KEPT // 4), np.tile([1.0, 1.0, -1.0, -1.0], KEPT // 4)])
    together = np.array([apart[0], 7 * apart[0]])  # how far replicates spread says nothing
    for kept, sides in ((apart, (5.0, 13.0)), (together, (7.0, 17.0))):
        found = frame(kept, value=[0.0, 10.0], low=[-3.0, 6.0], high=[5.0, 22.0])
        mean = averages.averaged(found, ["g"]).row(0, named=True)
        assert (mean["value"] - mean["low"], mean["high"] - mean["value"]) == pytest.approx(np.array(sides) / 2)


def test_rows_that_move_against_each_other_have_a_narrow_mean():
    up = np.random.default_rng(0).normal(size=KEPT)
    mean = averages.averaged(frame([up, -up]), ["g"]).row(0, named=True)
    assert (mean["low"], mean["high"]) == pytest.approx((0, 0), abs=1e-6)


def test_one_row_keeps_its_ends_and_its_replicates():
    found = averages.averaged(frame([np.arange(KEPT)], low=[-3.0], high=[0.5]), ["g"]).row(0, named=True)
    assert (found["low"], found["high"], found["replicates"][7]) == (-3.0, 0.5, 7.0)


def test_a_row_without_replicates_makes_the_ends_means_of_ends_and_one_without_interval_none():
    one = np.random.default_rng(0).normal(size=KEPT)
    mean = averages.averaged(frame([one, None], low=[-1.0, -3.0]), ["g"]).row(0, named=True)
    assert (mean["low"], mean["high"], mean["replicates"]) == (-2.0, 1.0, None)
    mean = averages.averaged(frame([one, one], low=[-1.0, None], high=[1.0, None]), ["g"]).row(0, named=True)
    assert (mean["value"], mean["low"], mean["high"]) == (0.0, None, None)


def test_the_mean_over_sets_that_share_images_holds_the_truth_in_95_of_100_studies():
    rng, held, apart = np.random.default_rng(3), 0, 0
    for study in range(400):
        shared, sets = rng.normal(size=200), rng.normal(size=(5, 40))
        kept, ends = [], []
        photographs = np.arange(200, dtype=np.uint64) + np.uint64(10_000 * study)
        common = linear(0.0, shared - shared.mean(), weights(photographs, np.zeros(200, int)))
        for number, one in enumerate(sets):
            own = weights(photographs[:40] + np.uint64(1000 * (number + 1)), np.zeros(40, int))
            kept.append(shared.mean() + one.mean() + common + linear(0.0, one - one.mean(), own))
            ends.append(1.96 * (1 / 200 + 1 / 40) ** 0.5)
        values = shared.mean() + sets.mean(axis=1)
        half = 1.96 * np.std(kept, axis=1)
        mean = averages.averaged(frame(kept, value=values, low=values - half, high=values + half), ["g"])
        mean = mean.row(0, named=True)
        held += mean["low"] <= 0 <= mean["high"]
        apart += abs(values.mean()) <= np.sqrt(np.square(ends).sum()) / 5  # as if the sets shared nothing
    assert 0.92 < held / 400 < 0.975
    assert apart < held


def test_seeds_are_a_random_effect_of_students_t_that_several_schemes_average_out():
    runs = frame([None] * 6, value=[0.4, 0.5, 0.6] * 2, scheme=["a"] * 3 + ["b"] * 3, seed=[0, 1, 2] * 2, n=[1] * 6)
    runs = runs.with_columns(low=pl.col("value"), high=pl.col("value"))  # no noise of images
    one = averages.with_seeds(averages.over_seeds(runs.filter(scheme="a"), ["g"]))
    assert one["high"][0] - 0.5 == pytest.approx(t.ppf(0.975, 2) * 0.1 / 3**0.5)
    means = averages.over_seeds(runs, ["g"])
    assert means["seed_variance"].to_list() == pytest.approx([0.01 / 3] * 2)
    assert means["seed_freedom"].to_list() == [2, 2]


def test_images_that_move_seeds_apart_count_once():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=KEPT), rng.normal(size=(4, KEPT))
    value, half = np.array([0.0, 1.0, 2.0, 3.0]), 1.96
    for kept, common in ((own, 0.0), (shared + 0 * own, 1.0)):  # no image, and every image, is common to the seeds
        runs = frame(kept, value=value, low=value - half, high=value + half, seed=[0, 1, 2, 3], n=[1] * 4)
        found = averages.with_seeds(averages.over_seeds(runs, ["g"])).row(0, named=True)
        spread = t.ppf(0.975, 3) * np.std(value, ddof=1) / 2
        assert found["high"] - found["value"] == pytest.approx(np.hypot(spread, 1.96 * common), rel=0.03)


def test_replicates_go_to_a_file_and_come_back_to_their_rows(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(5, KEPT)).astype(np.float32)
    rows = frame([table[0], None, *table[1:]], measure=list("babaab"))
    order = rows.select("measure", known=pl.col("replicates").is_not_null())
    line = averages.moved_to(tmp_path / "kept.npy", rows.lazy(), order)
    assert line.null_count() == 1
    back = averages.with_replicates(rows.drop("replicates").with_columns(line), tmp_path / "kept.npy")
    assert back["replicates"].equals(rows["replicates"], null_equal=True)
    stored = np.load(tmp_path / "kept.npy")
    assert stored[0] == pytest.approx(table[2])  # of the first row of measure a that keeps some


def test_a_row_that_cannot_vary_does_not_widen_the_mean_of_those_that_do():
    apart = np.random.default_rng(0).normal(size=(2, KEPT))
    half = 1.96 * apart.std(axis=1, ddof=1)
    still = frame([*apart, np.zeros(KEPT)], low=[*-half, 0.0], high=[*half, 0.0])
    mean = averages.averaged(still, ["g"]).row(0, named=True)
    assert mean["high"] == pytest.approx(1.96 * apart.sum(axis=0).std(ddof=1) / 3, rel=0.02)


def test_a_run_of_one_seed_varies_as_those_of_its_scheme_do_that_have_several():
    rng, held = np.random.default_rng(2), 0
    for _ in range(400):
        lines = []
        for model, seeds in (("a", 4), ("b", 4), ("c", 1), ("d", 1)):
            for seed in range(seeds):
                error = rng.normal(0, 0.1)
                lines.append({"model": model, "seed": seed, "value": rng.normal() + error, "n": 9, "sets": 1})
        runs = pl.DataFrame(lines).with_columns(
            scheme=pl.lit("lsq"), low=pl.col("value") - 0.2, high=pl.col("value") + 0.2
        )
        kept = [rng.normal(0, 0.1, KEPT).astype(np.float32) for _ in lines]
        runs = runs.with_columns(pl.Series("replicates", np.stack(kept), dtype=REPLICATES))
        mean = frames.mean_of_runs(runs, ["scheme"]).row(0, named=True)
        held += mean["low"] <= 0 <= mean["high"]
    assert 0.93 < held / 400 < 0.99


def test_replicates_that_stand_in_a_file_give_the_same_means_in_parts(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    lines, sets = 40, 3
    keys = {name: ["x"] * lines * sets for name in frames.VARIANT} | {
        "scheme": np.repeat(np.arange(lines), sets).astype(str)
    }
    value = rng.normal(size=lines * sets)
    rows = pl.DataFrame(
        {
            **keys,
            "measure": "m",
            "dataset": np.tile(["a", "b", "c"], lines),
            "value": value,
            "low": value - 1,
            "high": value + 1,
            "n": 9,
        }
    ).sample(fraction=1, shuffle=True, seed=3)
    kept = rng.normal(rows["value"].to_numpy()[:, None], 0.5, (len(rows), KEPT)).astype(np.float32)
    np.save(tmp_path / "kept.npy", kept)
    held = rows.with_columns(pl.Series("replicates", kept, dtype=REPLICATES))
    line = rows.with_columns(line=pl.when(pl.col("scheme") != "7").then(pl.int_range(pl.len())))
    held = held.with_columns(replicates=pl.when(pl.col("scheme") != "7").then("replicates"))
    monkeypatch.setattr(averages, "AT_ONCE", 7)
    apart = frames.mean_of_sets(averages.in_file(line, tmp_path / "kept.npy"))
    assert [part.height for part in averages.in_parts(line, ["scheme"])][:2] == [9, 9]
    columns = [name for name in apart.columns if name != "replicates"]
    together = frames.mean_of_sets(held)
    assert apart.select(columns).equals(together.select(columns))
    np.testing.assert_array_equal(averages.table_of(apart), averages.table_of(together))


def test_seeds_whose_replicates_stand_in_a_file_are_averaged_as_in_memory(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    lines, seeds = 40, 3
    keys = {name: ["x"] * lines * seeds for name in frames.VARIANT}
    keys |= {"scheme": np.repeat(np.arange(lines), seeds).astype(str), "seed": np.tile(np.arange(seeds), lines)}
    value = rng.normal(size=lines * seeds)
    rows = pl.DataFrame({**keys, "value": value, "low": value - 1, "high": value + 1, "n": 9})
    kept = rng.normal(value[:, None], 0.5, (len(rows), KEPT)).astype(np.float32)
    np.save(tmp_path / "kept.npy", kept)
    together = frames.mean_of_runs(rows.with_columns(pl.Series("replicates", kept, dtype=REPLICATES)), ["scheme"])
    monkeypatch.setattr(averages, "AT_ONCE", 7)  # no part ends inside of a scheme: each is longer than this
    line = averages.in_file(rows.with_columns(line=pl.int_range(pl.len())), tmp_path / "kept.npy")
    apart = frames.mean_of_runs(line, ["scheme"])
    assert together["freedom"].is_finite().all()
    columns = [name for name in apart.columns if name != "replicates"]
    assert apart.select(columns).equals(together.select(columns))
    np.testing.assert_array_equal(averages.table_of(apart), averages.table_of(together))
