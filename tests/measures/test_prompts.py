from functools import cache

import numpy as np
import polars as pl
import pytest

from reliquant.measures.pairing import Pair
from reliquant.measures.prompts import prompt_rows, spread


@cache
def quantiles(shares):
    return np.quantile(np.random.default_rng(0).normal(size=200_000), shares)[None]


def answers(rng, n, accuracies, noise=0.3):
    """Answers of templates of these accuracies, which agree on most images."""
    cuts = np.sqrt(1 + noise**2) * quantiles(tuple(accuracies))
    hardness = rng.normal(size=(n, 1)) + noise * rng.normal(size=(n, len(accuracies)))
    return hardness < cuts


def records(right, prediction):
    frame = pl.DataFrame({"label": np.zeros(len(right), int), "prediction": prediction.astype(int)})
    return frame.with_columns(pl.Series(f"template:{i} {{}}", right[:, i]) for i in range(right.shape[1]))


def by_name(rows):
    return {row["measure"]: row for row in rows}


def test_without_noise_the_spread_is_the_standard_deviation_over_templates():
    right = np.zeros((100_000, 3), bool)
    right[:60_000, 0] = right[:70_000, 1] = right[:80_000, 2] = True
    assert spread(right).root == pytest.approx(np.std([0.6, 0.7, 0.8], ddof=1), abs=1e-3)


def test_the_square_is_the_mean_over_pairs_of_different_images():
    right = answers(np.random.default_rng(1), 40, [0.5, 0.6, 0.8, 0.7])
    d = right - right.mean(axis=1, keepdims=True)
    products = d @ d.T
    expected = (products.sum() - np.trace(products)) / (40 * 39) / 3
    assert spread(right).square == pytest.approx(expected)


@pytest.mark.parametrize("accuracies", [[0.7] * 8, [0.66, 0.68, 0.69, 0.7, 0.7, 0.71, 0.72, 0.74]])
def test_the_square_has_no_bias_and_its_error_is_right(accuracies):
    rng = np.random.default_rng(2)
    found = [spread(answers(rng, 400, accuracies)) for _ in range(400)]
    squares = np.array([one.square for one in found])
    truth = np.var(accuracies, ddof=1)
    assert abs(squares.mean() - truth) < 3 * squares.std() / 20
    error = np.sqrt(np.mean([one.variance for one in found]))
    assert 0.9 < error / squares.std() < 1.4  # wider at 0, where its two parts are told apart with noise
    held = [one.interval[0] <= np.sqrt(truth) <= one.interval[1] for one in found]
    assert np.mean(held) > 0.92


def test_a_spread_of_0_has_an_upper_end_above_0():
    rng, below = np.random.default_rng(5), 0
    for _ in range(200):
        found = spread(answers(rng, 300, [0.7] * 5))
        below += found.square < 0
        assert found.interval[1] > 0.003
    assert below > 50
    assert 1 / 900 < spread(np.ones((300, 4), bool)).interval[1] < 3 / 300  # one answer of four, or three


def test_a_change_is_told_beside_the_spread_of_fp32():
    rng = np.random.default_rng(3)
    right = answers(rng, 5000, [0.66, 0.68, 0.70, 0.72, 0.74])
    lost = right & (rng.random((5000, 1)) < 0.9)
    wrong = ~right.all(axis=1), ~lost.all(axis=1)
    found = by_name(prompt_rows(Pair(records(lost, wrong[1]), records(right, wrong[0]))))
    ratio = found["change_to_template_spread"]
    change = wrong[0].mean() - wrong[1].mean()
    assert ratio["value"] == pytest.approx(change / spread(right).root)
    assert ratio["high"] < -1
    assert found["accuracy_worst_template"]["value"] == lost.mean(axis=0).min()
    assert found["accuracy_best_template"]["value"] == lost.mean(axis=0).max()
    assert found["template_spread"]["value"] == pytest.approx(spread(lost).root)
    assert found["template_spread_change"]["value"] == pytest.approx(spread(lost).root - spread(right).root)
    assert found["template_spread_change"]["low"] <= found["template_spread_change"]["value"]


def test_intervals_of_the_ratio_hold_the_truth():
    rng, held = np.random.default_rng(4), []
    cut = np.array([0.60, 0.65, 0.70, 0.75, 0.80])
    for _ in range(300):
        right = answers(rng, 1000, cut)
        first = right[:, 2]
        moved = np.where(rng.random(1000) < 0.1, False, first)  # 0.7 falls to 0.63
        same = records(right, ~first)
        low, high = (
            by_name(prompt_rows(Pair(records(right, ~moved), same)))["change_to_template_spread"][k]
            for k in ("low", "high")
        )
        held.append(low <= -0.07 / np.std(cut, ddof=1) <= high)
    assert 0.91 < np.mean(held) < 0.985


def test_one_template_has_rows_without_values_and_none_no_rows():
    one = records(np.ones((20, 1), bool), np.zeros(20))
    found = by_name(prompt_rows(Pair(one, one)))
    assert found["accuracy_best_template"]["value"] == 1
    for name in ("template_spread", "template_spread_change", "change_to_template_spread"):
        assert found[name]["value"] is None
    bare = one.drop("template:0 {}")
    assert prompt_rows(Pair(bare, bare)) == []


def test_templates_that_agree_on_every_image_have_no_spread_and_no_ratio():
    same = records(np.repeat(np.arange(50)[:, None] < 30, 4, axis=1), np.arange(50) >= 30)
    found = by_name(prompt_rows(Pair(same, same)))
    assert found["template_spread"]["value"] == 0
    assert found["change_to_template_spread"]["value"] is None


def test_templates_of_other_datasets_are_left_out():
    own = records(answers(np.random.default_rng(5), 60, [0.5, 0.8]), np.zeros(60))
    mixed = own.with_columns(pl.lit(None, pl.Boolean).alias("template:of another {}"))
    assert prompt_rows(Pair(mixed, None)) == prompt_rows(Pair(own, None))
