import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from reliquant.files.artifacts import ROW_SCHEMA
from reliquant.measures.rows import rows as measured_rows
from reliquant.report.compare import compare
from reliquant.report.synthetic import Shape, rows

SMALL = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=())


def test_the_same_rows_have_no_difference():
    frame = rows(SMALL)
    found = compare(frame, frame)
    assert found.height == frame.height
    assert found["difference"].abs().max() == 0
    assert not found["significant"].any()


def test_a_shifted_measure_is_found_and_nothing_else():
    frame = rows(SMALL)
    moved = (pl.col("measure") == "ece") & (pl.col("scheme") == "rtn")  # rows that keep no replicates
    other = frame.with_columns(
        pl.when(moved).then(pl.col(c) + 0.05).otherwise(c).alias(c) for c in ("value", "low", "high")
    )
    found = compare(frame, other).filter("significant")
    assert set(found["measure"]) == {"ece"}
    assert set(found["scheme"]) == {"rtn"}
    assert found["difference"].to_list() == pytest.approx([0.05] * found.height)


def test_p_is_that_of_two_independent_normals():
    frame = (
        rows(SMALL)
        .filter(measure="ece", scheme="fp32", dataset="shapes")
        .with_columns(value=pl.lit(0.10), low=pl.lit(0.07), high=pl.lit(0.13))
    )
    other = frame.with_columns(value=pl.lit(0.15), low=pl.lit(0.11), high=pl.lit(0.19))
    row = compare(frame, other).row(0, named=True)
    assert (row["low"], row["high"]) == pytest.approx((0.0, 0.1))  # 0.05 -+ sqrt(0.03^2 + 0.04^2)
    assert row["p"] == pytest.approx(0.05, abs=1e-9)


def test_rows_of_one_side_only_are_kept_and_marked():
    frame = rows(SMALL)
    found = compare(frame.filter(pl.col("scheme") != "rtn"), frame)
    assert set(found.filter(scheme="rtn")["where"]) == {"b"}
    assert set(found.filter(pl.col("scheme") != "rtn")["where"]) == {"both"}


def test_values_without_intervals_that_differ_are_neither_significant_nor_not():
    frame = rows(SMALL).filter(measure="ece").with_columns(low=pl.lit(None, pl.Float64), high=pl.lit(None, pl.Float64))
    found = compare(frame, frame.with_columns(pl.col("value") * 2))
    assert found["significant"].null_count() == found.height
    assert set(found["how"]) == {"no interval"}


def test_searches_are_matched_by_direction_and_stored_form():
    frame = rows(SMALL).filter(suite="retrieval", scheme="rtn")
    moved = (pl.col("group") == "image_to_text") & (pl.col("score") == "binary") & (pl.col("measure") == "recall_at_5")
    less = (pl.col("measure") == "bytes_a_vector") & (pl.col("score") == "int8_vector")
    change = pl.when(moved).then(0.1).when(less).then(-4.0).otherwise(0.0)
    other = frame.with_columns((pl.col(c) + change).alias(c) for c in ("value", "low", "high"))
    found = compare(frame, other).filter("significant")
    assert set(found.filter(how="exact").select("measure", "score").rows()) == {("bytes_a_vector", "int8_vector")}
    wanted = {("recall_at_5", "image_to_text", "binary")}
    assert set(found.filter(how="unpaired").select("measure", "group", "score").rows()) == wanted
    assert found.height == 3 * (3 + 1)  # precisions; directions, and one of them


def test_a_doubled_size_is_a_change_and_the_same_size_is_none():
    frame = rows(SMALL).filter(measure="bytes")
    doubled = pl.when(pl.col("scheme") == "rtn").then(pl.col("value") * 2).otherwise("value")
    found = compare(frame, frame.with_columns(value=doubled))
    assert set(found["how"]) == {"exact"}
    assert set(found.filter("significant")["scheme"]) == {"rtn"}
    assert found["significant"].null_count() == 0


def test_a_value_that_becomes_undefined_is_neither_significant_nor_not():
    frame = rows(SMALL).filter(measure="accuracy", scheme="rtn")
    lost = {name: pl.lit(None, ROW_SCHEMA[name]) for name in ("value", "low", "high", "replicates")}
    for a, b in ((frame, frame.with_columns(**lost)), (frame.with_columns(**lost), frame)):
        found = compare(a, b)
        assert found["significant"].null_count() == found.height > 0
        assert set(found["how"]) == {"undefined"}
    found = compare(frame.with_columns(**lost), frame.with_columns(**lost))
    assert not found["significant"].any()
    assert found["significant"].null_count() == 0


def test_a_logit_scale_without_interval_may_differ_by_chance():
    frame = rows(SMALL).filter(measure="bytes", scheme="rtn").with_columns(measure=pl.lit("logit_scale"))
    found = compare(frame, frame.with_columns(pl.col("value") * 2))
    assert set(found["how"]) == {"no interval"}
    assert found["significant"].null_count() == found.height > 0


def test_seconds_vary_and_are_no_change_by_themselves():
    frame = rows(SMALL).filter(measure="seconds")
    found = compare(frame, frame.with_columns(pl.col("value") * 2))
    assert found["significant"].null_count() == found.height


def measured(confidence_off=0.0, wrong=0.0, seed=0):
    """Rows of accuracy measured on the same 2,000 photographs, of which a share is got wrong that was right."""
    rng = np.random.default_rng(0)
    n, label = 2000, np.arange(2000) % 10
    right = rng.random(n) < 0.8
    lost = np.random.default_rng(seed).random(n) < wrong
    prediction = np.where(right & ~lost, label, (label + 1) % 10)
    numbers = {"confidence": np.clip(rng.uniform(0.6, 0.9, n) - confidence_off, 0, 1), "nll": 1.0, "brier": 0.5}
    names = {"suite": "clean", "dataset": "d", "reference": "d", "corruption": "", "group": ""}
    frame = pl.DataFrame({"index": np.arange(n), "label": label, "prediction": prediction, "rank": 1 - right})
    samples = frame.with_columns(**{k: pl.lit(v) if np.isscalar(v) else pl.Series(v) for k, v in numbers.items()})
    samples = samples.with_columns(**{k: pl.lit(v) for k, v in names.items()}, severity=pl.lit(0, pl.Int8))
    found = measured_rows(samples, None, resamples=500)
    absent = {name: pl.lit(None, kind) for name, kind in ROW_SCHEMA.items() if name not in found.columns}
    return found.with_columns(**absent).select(ROW_SCHEMA.names()).cast(dict(ROW_SCHEMA))


def test_a_loss_on_the_same_photographs_is_found_that_two_intervals_would_miss():
    before, after = measured(), measured(wrong=0.01, seed=4)
    line = compare(before, after).filter(measure="accuracy").row(0, named=True)
    lost = -line["difference"]
    b = round(lost * 2000)  # images that were right and are wrong; none went the other way
    exact = binomtest(0, b, 0.5).pvalue
    assert exact < 0.001
    assert line["how"] == "paired"
    assert line["p"] < 0.005
    assert line["significant"]
    alone = [frame.with_columns(replicates=pl.lit(None, ROW_SCHEMA["replicates"])) for frame in (before, after)]
    missed = compare(*alone).filter(measure="accuracy").row(0, named=True)
    assert (missed["how"], missed["significant"]) == ("unpaired", False)


def test_rounding_by_another_machine_is_no_change():
    before = measured()
    after = before.with_columns(value=pl.col("value") + 1e-8)
    found = compare(before, after).filter(how="paired")
    assert found.height
    assert not found["significant"].any()


def test_the_interval_of_a_paired_difference_is_that_of_the_images_that_changed():
    before, after = measured(), measured(wrong=0.02, seed=5)
    line = compare(before, after).filter(measure="accuracy").row(0, named=True)
    share = -line["difference"]
    error = np.sqrt(share * (1 - share) / 2000)
    assert (line["high"] - line["low"]) / 2 / 1.96 == pytest.approx(error, rel=0.15)


def test_repeated_rows_are_refused():
    frame = rows(SMALL)
    with pytest.raises(ValueError, match="rows b hold the same variant"):
        compare(frame, pl.concat([frame, frame.head(1)]))
