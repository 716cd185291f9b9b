import polars as pl
import pytest

from reliquant.measures import calibration, shift
from reliquant.measures.rows import SCHEMA, rows


def test_fp32_rows_are_values_with_intervals_and_no_differences(cell, value):
    samples = cell()
    found = rows(samples, None, resamples=500)
    assert dict(found.schema) == SCHEMA
    assert found.filter(pl.col("measure").str.contains("change|delta|flips|agreement")).is_empty()
    correct = (samples["prediction"] == samples["label"]).to_numpy()
    confidence = samples["confidence"].to_numpy()
    assert value(found, "accuracy") == pytest.approx(correct.mean())
    assert value(found, "ece") == pytest.approx(calibration.ece(confidence, correct))
    assert value(found, "ece_equal_mass") == pytest.approx(calibration.ece_equal_mass(confidence, correct))
    assert value(found, "nll") == pytest.approx(samples["nll"].mean())
    assert value(found, "confidence_gap") == pytest.approx(calibration.confidence_gap(confidence, correct))
    for row in found.filter(pl.col("measure").is_in(["accuracy", "nll", "brier", "aurc"])).iter_rows(named=True):
        assert row["low"] < row["value"] < row["high"]
        assert row["p"] is None


def test_differences_are_variant_minus_fp32_with_interval_and_p(cell, value):
    found = rows(cell(seed=1, noise=1.5), cell(seed=1), resamples=2000)
    worse, good = (rows(cell(seed=1, noise=x), None, resamples=50) for x in (1.5, 0.5))
    for measure in ("accuracy", "ece", "nll", "brier", "top5_accuracy", "confidence_gap", "aurc"):
        expected = value(worse, measure) - value(good, measure)
        assert value(found, f"{measure}_change") == pytest.approx(expected, abs=1e-6)
    assert value(found, "accuracy_delta") == pytest.approx(
        shift.accuracy_delta(value(good, "accuracy"), value(worse, "accuracy"))
    )
    assert value(found, "accuracy_change", "high") < 0
    assert value(found, "accuracy_change", "p") < 0.01
    moved = value(found, "flips_wrong_to_right") - value(found, "flips_right_to_wrong")
    assert moved == pytest.approx(value(found, "accuracy_change"))


def test_a_variant_equal_to_fp32_has_no_difference_with_p_of_one(cell):
    found = rows(cell(), cell(), resamples=300).filter(pl.col("measure").str.ends_with("_change"))
    assert found["value"].to_list() == [0.0] * len(found)
    assert found["p"].drop_nulls().to_list() == [1.0] * found["p"].count()
    assert found.filter(pl.col("p").is_null())["low"].is_null().all()
    ends = found.drop_nulls("p")
    assert (ends["high"] > 0).all()  # none of these images changed; others may
    assert ends["low"].to_numpy() == pytest.approx(-ends["high"].to_numpy(), rel=0.2)


def test_the_same_records_and_seed_give_the_same_rows_whatever_else_is_in_the_frame(cell):
    a, b = cell(noise=1.0), cell()
    other = a.with_columns(dataset=pl.lit("e"))
    alone = rows(a, b, resamples=200)
    both = rows(pl.concat([other, a.sample(fraction=1, shuffle=True, seed=1)]), pl.concat([b, other]), resamples=200)
    assert both.filter(dataset="d").equals(alone)


def test_ood_needs_its_reference_and_suites_can_be_chosen(detection_samples):
    samples = detection_samples(1.0)
    with pytest.raises(ValueError, match="ood suite, o: there are no records of d in the clean suite"):
        rows(samples.filter(suite="ood"), None)
    assert set(rows(samples, None, suites=["ood"])["suite"]) == {"ood"}
