from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from reliquant.report.synthetic import Shape, Truth, rows
from reliquant.report.synthetic_explain import WAVES, long

SHAPE = Shape(
    models=(("vit", "wit"),), precisions=("w4a8",), scopes=("image",), seeds=(0,), clean=("shapes",), scales=("native",)
)


@pytest.fixture(scope="module")
def explained():
    return rows(SHAPE, replace(Truth(), jitter=0.0)).filter(suite="explain")


def test_sqnr_falls_by_its_slope_with_every_factor_of_ten_in_rank(explained):
    for rank in SHAPE.ranks:
        values = explained.filter(measure=f"sqnr_rank_{rank}")["value"]
        assert values.to_list() == pytest.approx([18 - 4 * np.log10(1 + rank) + 4] * 3)  # + 4 bits; three schemes


def test_only_qat_gains_from_the_first_band_and_loses_from_the_last(explained):
    for band, qat in (("0_8", 0.02), ("8_64", 0.0), ("64_end", -0.03)):
        changes = explained.filter(measure=f"accuracy_rank_{band}_change")
        found = dict(changes.select("scheme", "value").iter_rows())
        assert found == pytest.approx({"rtn": -0.01, "rot-lsq": -0.01, "lsq": qat})


def test_quantization_stands_first_among_its_controls_and_loses_what_it_loses(explained):
    changes = explained.filter(measure="accuracy_change", scheme="rtn")
    assert changes.sort("group")["group"][0] == ""
    found = dict(changes.select("group", "value").iter_rows())
    assert found[""] == pytest.approx(-0.12)
    assert found["FP32 truncated"] == pytest.approx(-0.12 * 0.2)
    assert found["gaussian noise"] == pytest.approx(-0.12 * 0.7)


def test_no_two_waves_are_the_same():
    waves = {tuple(map(int, wave.split(","))) for wave in WAVES}
    assert len(waves) == len(WAVES)
    assert not {(-u, -v) for u, v in waves} & waves


def test_accuracy_climbs_during_training_towards_the_trained_models():
    frame = rows(SHAPE, replace(Truth(), jitter=0.0)).filter(pl.col("iteration").is_not_null(), measure="accuracy")
    assert set(frame["family"]) == {"QAT (Contr.)"}
    values = frame.sort("iteration")
    assert values["iteration"].to_list() == [0, 50, 100, 200]
    assert values["value"].to_list() == pytest.approx([0.7 - 0.3 - 0.2 / (1 + i / 40) for i in (0, 50, 100, 200)])


def test_expressions_become_one_row_each_and_nulls_none():
    frame = pl.DataFrame({"model": ["a", "b"], "bits": [8, 4]})
    rows_of = long(frame, {"x": pl.col("bits") * 2, "y": pl.when(pl.col("bits") > 4).then(1)})
    assert rows_of.select("model", "measure", "value").rows() == [("a", "x", 16.0), ("b", "x", 8.0), ("a", "y", 1.0)]
