"""One image has no interval but that of a share, and no interval reaches beyond what its measure can be."""

import numpy as np
import pytest

from reliquant.evaluation.answers import answers_of_features
from reliquant.evaluation.features import Features
from reliquant.evaluation.paired import Labels, Quantized, measure_paired
from reliquant.measures.limits import limit, limits_of

SHARES = {"accuracy", "top5_accuracy", "balanced_accuracy", "agreement", "flips_right_to_wrong", "flips_wrong_to_right"}


def measured(n):
    rng = np.random.default_rng(0)
    text, label = rng.normal(size=(5, 32)), rng.integers(0, 5, n)
    image = text[label] + 0.3 * rng.normal(size=(n, 32))
    sides = []
    for noise in (0, 0.1):
        moved = image + noise * rng.normal(size=image.shape)
        unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (moved, text)]
        sides.append(answers_of_features(Features(*unit, label, 20.0), {}, {}))
    rows = measure_paired({"q": Quantized(sides[1])}, sides[0], Labels("s", "m"), resamples=200)
    return rows.filter(scheme="q", scale="native").drop_nulls("value")


def test_one_image_has_values_and_no_interval_but_those_of_shares():
    rows = measured(1)
    assert {"accuracy_change", "brier_change", "kl_to_fp32", "nll"} <= set(rows["measure"])
    known = rows.drop_nulls("low")
    assert set(known["measure"]) == SHARES
    assert rows["p"].null_count() == rows.height
    assert rows["replicates"].null_count() == rows.height
    assert (known["high"] - known["low"]).min() > 0.7


@pytest.mark.parametrize("n", [2, 3, 5])
def test_no_interval_of_few_images_reaches_beyond_what_a_measure_can_be(n):
    rows = measured(n).drop_nulls("low")
    assert {"accuracy_change", "brier", "confidence_gap"} <= set(rows["measure"])
    for name, low, high in rows.select("measure", "low", "high").rows():
        least, most = limits_of(name) or (-np.inf, np.inf)
        assert least <= low <= high <= most, name
    change = rows.filter(measure="accuracy_change").row(0, named=True)
    assert change["high"] - change["low"] > 0.8  # as long as it is


def test_a_row_within_its_limits_stays_as_it_is():
    row = {"measure": "brier_change", "n": 30, "low": -1.9, "high": 1.9, "p": 1.0, "replicates": None}
    kept = dict(row)
    limit(row)
    assert row == kept
    assert limits_of("mean_corruption_error") is None
    assert limits_of("squared_ce") is None
    assert limits_of("accuracy_delta") is None  # relative to FP32's
