import numpy as np
import polars as pl
import pytest

from reliquant.files.artifacts import KEPT
from reliquant.measures.stats import Z95
from reliquant.report.front import confidence, front, unbeaten

SIZES = {"w4a8": 0.2, "w6a8": 0.3, "w8a8": 0.4}
NAMES = {"source": "s", "scope": "both", "proxy": "p", "seed": 0}


def models(fp32, changes, replicates, half, sizes=SIZES):
    """Return points and changes of models: `fp32` values, `changes` (models, precisions, schemes), and their errors.

    `replicates` are those of FP32 (models, KEPT) and of the changes (models, precisions, schemes, KEPT), or None.
    """
    points, moved = [], []
    for m, level in enumerate(fp32):
        of = {"model": f"m{m}", **NAMES, "scheme": "fp32", "family": "FP32", "precision": "fp32", "size": 1.0}
        points.append(of | place(level, half[0], replicates and replicates[0][m]))
        for (p, s), change in np.ndenumerate(changes[m]):
            precision = list(sizes)[p]
            of = of | {"scheme": f"q{s}", "family": "f", "precision": precision, "size": sizes[precision]}
            moved.append(of | place(change, half[1], replicates and replicates[1][m, p, s]))
            points.append(of | place(level + change, half[0], None))
    schema = {"replicates": pl.Array(pl.Float32, KEPT), "low": pl.Float64, "high": pl.Float64}
    return [pl.DataFrame(lines, schema_overrides=schema) for lines in (points, moved)]


def place(value, half, replicates):
    ends = {"low": value - half, "high": value + half} if half else {"low": None, "high": None}
    return {"value": float(value), **ends, "replicates": None if replicates is None else list(map(float, replicates))}


def test_the_front_holds_what_nothing_smaller_beats():
    points = pl.DataFrame({"size": [1.0, 1.0, 2.0, 3.0, 3.0], "value": [5.0, 6.0, 4.0, 7.0, 6.5]})
    assert front(points, highest=True).select("size", "value").rows() == [(1.0, 6.0), (3.0, 7.0)]
    assert front(points, highest=False).select("size", "value").rows() == [(1.0, 5.0), (2.0, 4.0)]


def test_what_is_unbeaten_is_the_front_whatever_the_order():
    rng = np.random.default_rng(0)
    size, value = rng.integers(1, 6, 30).astype(float), rng.normal(size=30)
    at = front(pl.DataFrame({"size": size, "value": value, "at": range(30)}), highest=True)["at"]
    assert sorted(at) == np.flatnonzero(unbeaten(size, value)).tolist()


@pytest.mark.parametrize("highest", [True, False])
def test_far_apart_values_are_certain_and_equal_ones_share_the_chance(highest):
    sign = 1 if highest else -1
    points, changes = models(
        [90.0 * sign], sign * np.array([[[-8.0, -1.0], [-2.0, -4.0], [-0.1, -0.1]]]), None, (0.2, 0.2)
    )
    chance = confidence(points, changes, highest=highest).to_list()
    certain, open_ones = chance[:5], chance[5:]
    assert certain == pytest.approx([certain[0], 0.0, 1.0, 0.0, 0.0], abs=0.02)
    assert sum(open_ones) == pytest.approx(1.0, abs=0.03)
    assert min(open_ones) > 0.3


def test_luck_that_all_share_makes_nothing_uncertain():
    rng = np.random.default_rng(1)
    shared, own = rng.normal(0, 3, KEPT), rng.normal(0, 0.01, (1, 3, 1, KEPT))
    change = np.array([[[-1.0], [-0.5], [-0.2]]])
    points, changes = models([90.0], change, ([90 + shared], change[..., None] + own), (3 * Z95, 0.01 * Z95))
    assert confidence(points, changes, highest=True).to_list() == pytest.approx([1.0] * 4, abs=0.01)


def test_without_any_interval_or_without_fp32_there_is_no_chance():
    points, changes = models([90.0], np.zeros((1, 3, 2)), None, (None, None))
    assert confidence(points, changes, highest=True).null_count() == 7
    points, changes = models([90.0], np.zeros((1, 3, 2)), None, (0.1, 0.1))
    assert confidence(points.filter(pl.col("scheme") != "fp32"), changes, highest=True).null_count() == 6


def test_a_variant_without_an_interval_has_no_chance_and_the_others_have():
    points, changes = models([90.0], np.array([[[-3.0], [-2.0], [-1.0]]]), None, (0.1, 0.1))
    unknown = [pl.when(precision="w4a8").then(None).otherwise(end).alias(end) for end in ("low", "high")]
    chance = confidence(points, changes.with_columns(unknown), highest=True).to_list()
    assert (chance[1], chance[0] > 0.9, chance[2] > 0.9) == (None, True, True)


def studies(spread, number):
    """Return for models of many studies: their chance, whether they are on the true front, and on the measured one."""
    rng, found = np.random.default_rng(2), []
    for _ in range(number):
        base, mean = np.array([80.0, 80.4]), np.array([-0.8, -0.2, -0.05])[:, None]
        change = mean + rng.normal(0, spread, (2, 3, 4))
        errors = rng.normal(0, 1.0, (2, KEPT + 1)), rng.normal(0, 0.3, (2, 3, 4, KEPT + 1))
        seen = base + errors[0][:, 0], change + errors[1][..., 0]
        replicates = seen[0][:, None] + errors[0][:, 1:], seen[1][..., None] + errors[1][..., 1:]
        points, moved = models(*seen, replicates, (1.0 * Z95, 0.3 * Z95))
        truth, _ = models(base, change, None, (None, None))
        told = confidence(points, moved, highest=True, draws=400).to_numpy()
        fronts = (unbeaten(frame["size"].to_numpy(), frame["value"].to_numpy()) for frame in (truth, points))
        found.append((told, *fronts))
    return [np.concatenate(part) for part in zip(*found, strict=True)]


def test_marks_are_on_the_true_front_as_often_as_their_chance_says():
    told, right, measured = studies(0.5, number=50)
    assert told.mean() == pytest.approx(right.mean(), abs=0.02)
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1.01)):
        some = (told >= low) & (told < high)
        assert told[some].mean() == pytest.approx(right[some].mean(), abs=0.12), (low, some.sum())
    assert right[measured].mean() < 0.6  # what a line without chances calls the front


def test_the_luckiest_of_marks_that_hardly_differ_are_not_called_sure():
    told, right, measured = studies(0.01, number=25)
    assert right[measured].mean() < 0.3
    assert (told[measured] >= 0.5).mean() < 0.1
    assert (told >= 0.95).sum() == 0
