"""Records of a runtime beside those of the simulation: a pair that was made by hand."""

import numpy as np
import polars as pl
import pytest

from reliquant.evaluation.engine import comparable, engine_rows, float64_rows
from reliquant.evaluation.records import records_of
from reliquant.measures.divergence import top_of
from reliquant.measures.rows import rows

PLACE = {"suite": "clean", "dataset": "d", "reference": "d", "group": "", "corruption": "", "severity": 0}
LABEL = np.arange(40) % 2


def records(sure, **place):
    """Records of forty images of two classes, of which the right one has the probabilities given, (40,)."""
    p = np.where(LABEL[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None])
    frame = records_of(np.log(p), LABEL).with_columns(top_of(np.log(p)))
    words = {name: pl.lit(value) for name, value in {**PLACE, **place}.items()}
    frame = frame.with_row_index("index").with_columns(pl.col("index").cast(pl.Int32), photograph=pl.int_range(40))
    return frame.with_columns(pl.col("photograph").cast(pl.UInt64), **words)


@pytest.fixture
def sure():
    """Of forty images thirty are right in the simulation; the runtime turns three of them, and one of the others."""
    simulated = np.where(np.arange(40) < 30, 0.8, 0.3)
    ran = simulated.copy()
    ran[[0, 1, 2]], ran[39] = 0.4, 0.6
    return simulated, ran


def value(found, measure, column="value"):
    (one,) = found.filter(measure=measure)[column]
    return one


def test_changes_are_those_from_the_simulation_to_the_runtime(sure):
    simulated, ran = sure
    found = engine_rows(records(ran), records(simulated), suites=["clean"], resamples=400)
    assert value(found, "accuracy_engine_change") == pytest.approx(-2 / 40)
    assert value(found, "engine_agreement") == pytest.approx(36 / 40)
    assert value(found, "engine_flips_right_to_wrong") == pytest.approx(3 / 40)
    assert value(found, "engine_flips_wrong_to_right") == pytest.approx(1 / 40)
    divergence = simulated * np.log(simulated / ran) + (1 - simulated) * np.log((1 - simulated) / (1 - ran))
    assert value(found, "engine_kl") == pytest.approx(divergence.mean(), rel=1e-4)
    nll = (-np.log(ran) + np.log(simulated)).mean()
    assert value(found, "nll_engine_change") == pytest.approx(nll, rel=1e-4)
    assert value(found, "nll_engine_change", "low") < nll < value(found, "nll_engine_change", "high")
    assert 0 < value(found, "accuracy_engine_change", "p") <= 1
    assert set(found["scale"]) == {"native"}


def test_every_measure_with_a_paired_change_has_one_to_the_simulation_and_no_row_names_fp32(sure):
    simulated, ran = sure
    found = engine_rows(records(ran), records(simulated), suites=["clean"], resamples=100)
    paired = rows(records(ran), records(simulated), resamples=100)
    changes = {name for name in paired["measure"] if name.endswith("_change") and "fp32" not in name}
    assert {name.replace("_engine_change", "_change") for name in found["measure"]} >= changes
    assert not found["measure"].str.contains("fp32").any()
    before = paired.filter(measure="accuracy_change").select("value", "low", "high", "p", "replicates")
    assert found.filter(measure="accuracy_engine_change").select(before.columns).equals(before)


def test_the_yardstick_compares_the_images_that_also_ran_in_float64(sure):
    simulated, ran = sure
    doubled = records(ran)[[0, 1, 39, 20, 21, 22]].sort("index")
    found = float64_rows(doubled, records(simulated), resamples=100)
    assert value(found, "float64_agreement") == pytest.approx(3 / 6)
    assert value(found, "accuracy_float64_change") == pytest.approx((-2 + 1) / 6)
    assert set(found["n"]) == {6}


def test_other_records_are_cut_down_to_what_was_run(sure):
    simulated, ran = sure
    there = pl.concat([records(simulated), records(simulated, suite="shift", dataset="e")])
    there = there.with_columns(pl.lit(1.0).alias("score:patches"), pl.lit(1.0).alias("score:mcm"))
    kept = comparable(there, records(ran), ["patches"])
    assert kept["suite"].unique().to_list() == ["clean"]
    assert "score:patches" not in kept.columns
    assert "score:mcm" in kept.columns
    with pytest.raises(ValueError, match="40 images here, 39 in the baseline"):
        engine_rows(records(ran), comparable(there, records(ran), []).head(39), suites=["clean"], resamples=100)
