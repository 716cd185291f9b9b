import polars as pl
import pytest

from reliquant.report.findings import findings, what_holds, where_it_falls, who_knows
from reliquant.report.synthetic import Shape, rows

SAME = {"source": "s", "family": "f", "proxy": "p", "seed": 0, "measure": "x", "dataset": "d", "n": 100, "sets": "d"}


def variants(*lines):
    """Make variants' means of lines (model, scheme, precision, scope, value, half of the interval)."""
    made = []
    for model, scheme, precision, scope, value, half in lines:
        ends = {"low": value - half, "high": value + half} if half else {"low": None, "high": None}
        made.append({"model": model, "scheme": scheme, "precision": precision, "scope": scope, "value": value, **ends})
    return pl.DataFrame(made, schema_overrides={"low": pl.Float64, "high": pl.Float64}).with_columns(
        **{name: pl.lit(value) for name, value in SAME.items()}, left=pl.lit(""), replicates=pl.lit(None)
    )


def test_accuracy_falls_from_the_first_precision_whose_interval_lies_below_0():
    cliff = [("m", "rtn", p, "image", v, 0.01) for p, v in (("w2a8", -0.4), ("w8a8", -0.001), ("w4a8", -0.02))]
    told = where_it_falls(variants(*cliff, ("m", "fp8", "fp8", "image", -0.009, 0.01)))
    assert told == (
        "Mean accuracy falls by more than its interval with rtn from W4A8 on (-2.0 points [-3.0, -1.0], -40.0 at W2A8)."
        " No fall can be told from none with fp8 (FP8)."
    )


def test_a_fall_that_lower_precisions_do_not_have_is_told_of_its_own_alone():
    told = where_it_falls(
        variants(*(("m", "rtn", p, "image", v, 0.01) for p, v in (("w8a8", -0.02), ("w4a8", -0.005))))
    )
    assert (
        told
        == "Mean accuracy falls by more than its interval with rtn at W8A8 (-2.0 points [-3.0, -1.0], -0.5 at W4A8)."
    )


@pytest.mark.parametrize("half", [0.01, None])
def test_a_rise_and_a_fall_without_an_interval_are_no_falls(half):
    told = where_it_falls(variants(("m", "rtn", "w8a8", "image", 0.3 if half else -0.3, half)))
    assert told == "No fall can be told from none with rtn (W8A8)."


def test_methods_are_compared_where_they_differ_most_on_what_all_have():
    lines = [("m", "rtn", "w4a8", "image", -0.03, 0.01), ("m", "mse", "w4a8", "image", -0.005, 0.01)]
    lines += [("m", "rtn", "w2a8", "image", -0.4, 0.02), ("m", "mse", "w2a8", "image", -0.1, 0.02)]
    lines += [("m", "rtn", "w2a8", "both", -0.8, 0.02), ("alone", "rtn", "w2a8", "image", -0.9, 0.02)]
    assert what_holds(variants(*lines)) == (
        "Methods differ most at W2A8, where mse keeps most (-10.0 points [-12.0, -8.0]), rtn least (-40.0 points"
        " [-42.0, -38.0]); on what all have there: 1 model, scope image."
    )


def test_methods_whose_intervals_meet_do_not_differ():
    lines = [("m", "rtn", "w4a8", "image", -0.03, 0.02), ("m", "mse", "w4a8", "image", -0.01, 0.02)]
    assert what_holds(variants(*lines)) == ""


CHANCE = "squared calibration error; were nothing changed, one in 40 would be better and one in 40 worse by chance"


def test_calibration_counts_the_variants_whose_interval_leaves_out_no_change():
    lines = [("m", "rtn", "w8a8", "image", -0.02, 0.01), ("m", "rtn", "w4a8", "image", 0.02, 0.01)]
    lines += [("m", "rtn", "w4a8", "both", 0.02, 0.03), ("n", "rtn", "w4a8", "image", 0.02, None)]
    start = "Of 4 quantized variants 1 are calibrated better than FP32 and 1 worse, by more than their intervals"
    assert who_knows(variants(*lines)) == f"{start} ({CHANCE}); most often worse at W4A8: 1 of 3."
    assert who_knows(variants(lines[0])).endswith(
        f"1 are calibrated better than FP32 and 0 worse, by more than their intervals ({CHANCE})."
    )


def test_findings_are_made_of_a_studys_rows_and_of_rows_that_hold_less():
    made = rows(Shape(seeds=(0,), corruptions=()))
    told = findings(made)
    assert len(told) == 3
    assert "with lsq from W6A8 on (-" in told[0]
    assert findings(made.filter(pl.col("scheme") == "fp32")) == []
    assert len(findings(made.filter(pl.col("measure") == "accuracy_change"))) == 2
