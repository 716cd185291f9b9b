import functools
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from reliquant.files.artifacts import KEPT, ROW_SCHEMA
from reliquant.report.recommend import Wish, judged, left_out, recommend, wish
from reliquant.report.synthetic import Shape, Truth, rows

SMALL = Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), corruptions=(), iterations=(), ranks=())


@functools.cache
def study():
    """The rows that most tests read, made once."""
    return rows(SMALL)


@functools.cache
def exact_study():
    """The same study, hardly disturbed by noise."""
    return rows(SMALL, replace(Truth(), jitter=1e-6))


def test_the_smallest_variant_within_the_accuracy_bound_comes_first():
    found = recommend(study(), ["accuracy_delta < 0.05"])
    first = found.row(0, named=True)
    assert (first["scheme"], first["precision"]) == (
        "rot-lsq",
        "w4a8",
    )  # 3 % lost; the others at 4 bits lose 12 and 30 %
    assert first["confidence"] > 0.95


def test_a_variant_beaten_in_cost_and_measure_is_left_out():
    found = recommend(exact_study(), ["accuracy_delta < 0.5"])
    assert found.filter(scheme="rtn").is_empty()  # of each size another scheme is more accurate


def test_every_other_variant_says_why_it_is_no_answer():
    variants = judged(exact_study(), ["accuracy_delta < 0.2"])
    found = recommend(exact_study(), ["accuracy_delta < 0.2"])
    assert variants.filter(why_not="").drop("why_not").equals(found)
    for row in variants.filter(pl.col("why_not") != "").iter_rows(named=True):
        value = row["accuracy_delta < 0.2"]
        if value > 0.2:
            assert row["why_not"] == f"{value:.4g}, not accuracy_delta < 0.2"
        else:
            name = row["why_not"].removeprefix("beaten by ")
            better = found.filter(pl.concat_str("scheme", "precision", separator=" ") == name).row(0, named=True)
            assert better["cost"] <= row["cost"]
            assert better["accuracy_delta < 0.2"] <= value


def test_confidence_falls_where_intervals_reach_over_the_bound():
    exact = exact_study()
    beside = exact.with_columns(
        replicates=pl.lit(None, exact.schema["replicates"]),
        low=pl.when(pl.col("low").is_not_null()).then(pl.col("value") - 0.1),
        high=pl.when(pl.col("high").is_not_null()).then(pl.col("value") + 0.1),
    )
    sure, unsure = (recommend(f, ["accuracy_delta < 0.031"]).row(0, named=True)["confidence"] for f in (exact, beside))
    assert sure == 1.0
    assert 0.3 < unsure < 0.7


def test_no_variant_may_meet_a_wish():
    assert recommend(study(), ["accuracy_change > 0.9"]).is_empty()


def test_a_wish_of_another_suite_names_it():
    assert recommend(study(), ["ood:auroc_change >= 0"]).height >= 1


@pytest.mark.parametrize("text", ["ece ~ 0", "moon:ece < 0", "ece <"])
def test_a_wish_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match="must read"):
        recommend(study(), [text])


def test_a_measure_without_an_interval_is_never_certain():
    frame = study()
    plug_in = pl.col("measure") == "ece_change"
    frame = frame.with_columns(pl.when(~plug_in).then(end).alias(end) for end in ("low", "high", "replicates"))
    found = recommend(frame, ["ece_change <= 0"])
    assert found["confidence"].null_count() == found.height >= 1
    assert set(found["why"]) == {
        "ece_change has no interval, so how sure this is cannot be told; wish for squared_ce_change, which has one"
    }
    known = recommend(frame, ["squared_ce_change <= 0"])
    assert known["confidence"].null_count() == 0
    assert set(known["why"]) == {""}


def test_one_variant_without_an_interval_has_no_confidence_and_the_others_have():
    frame = study()
    one = (pl.col("measure") == "accuracy_delta") & (pl.col("scheme") == "rot-lsq") & (pl.col("precision") == "w4a8")
    frame = frame.with_columns(pl.when(~one).then(end).alias(end) for end in ("low", "high", "replicates"))
    found = recommend(frame, ["accuracy_delta < 0.05"])
    first, *others = found.to_dicts()
    assert (first["scheme"], first["precision"], first["confidence"]) == ("rot-lsq", "w4a8", None)
    assert "has no interval" in first["why"]
    assert [other["confidence"] is not None for other in others] == [True] * len(others)


def two_variants(gap, shared):
    """Rows of six variants of one size; two best ones that differ by a gap, with errors shared or their own."""
    frame = study().filter(pl.col("measure").is_in(["accuracy_change", "bytes"]), pl.col("scheme") != "fp32")
    frame = frame.filter(pl.col("dataset").is_in(["", "shapes"]), pl.col("suite").is_in(["", "clean"]), scale="native")
    sizes = frame.filter(measure="bytes").with_columns(value=pl.lit(1.0), precision=pl.lit("w8a8"))
    sizes = sizes.with_columns(scheme=pl.col("scheme") + frame.filter(measure="bytes")["precision"])
    change = frame.filter(measure="accuracy_change").with_columns(precision=pl.lit("w8a8"), scheme=sizes["scheme"])
    values = np.array([gap, 0.0, *np.linspace(-0.02, -0.08, change.height - 2)])
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.01, (1 if shared else change.height, KEPT)) + rng.normal(0, 0.001, (change.height, KEPT))
    table = (values[:, None] + luck).astype(np.float32)
    kept = pl.Series("replicates", table, dtype=ROW_SCHEMA["replicates"])
    value = pl.Series("value", values)
    ends = {"low": value - 0.02, "high": value + 0.02}
    return pl.concat([sizes, change.with_columns(kept, value, **ends)])


def test_variants_that_share_their_images_are_told_apart_more_surely():
    sure, unsure = (
        recommend(two_variants(0.005, shared), ["accuracy_change >= -1"]).row(0, named=True)["confidence"]
        for shared in (True, False)
    )
    assert sure > 0.95
    assert unsure < 0.75


def test_thousands_of_variants_take_seconds(at_most):
    shape = replace(SMALL, models=[(f"m{i}", "wit") for i in range(110)], scopes=("image", "both"))
    with at_most(60):
        found = recommend(rows(shape), ["accuracy_delta < 0.05", "squared_ce_change < 1"], draws=200)
    assert found.height


def test_an_absent_measure_is_named():
    with pytest.raises(ValueError, match="no rows of sharpness in the suite clean"):
        recommend(study(), ["sharpness < 1"])


def cells(values, measure="accuracy", suite="clean"):
    """Rows of schemes on sets: {(scheme, set): value}, with an error of 0.01 and luck of their own."""
    like = study().filter(measure="accuracy", suite="clean", scheme="rtn", precision="w8a8").head(1)
    rng, parts = np.random.default_rng(7), []
    for (scheme, name), value in values.items():
        luck = (value + 0.01 * rng.standard_normal((1, KEPT))).astype(np.float32)
        words = {"scheme": scheme, "dataset": name, "reference": name, "measure": measure, "suite": suite}
        ends = {"value": value, "low": value - 0.0196, "high": value + 0.0196}
        line = like.with_columns(**{k: pl.lit(v) for k, v in (words | ends).items()})
        parts.append(line.with_columns(pl.Series("replicates", luck, dtype=ROW_SCHEMA["replicates"])))
    return pl.concat(parts).cast(ROW_SCHEMA)


def sizes(**schemes):
    """Rows of the bytes of schemes."""
    found = cells({(scheme, ""): float(size) for scheme, size in schemes.items()}, "bytes", "")
    return found.with_columns(pl.lit(None).cast(ROW_SCHEMA[end]).alias(end) for end in ("low", "high", "replicates"))


def test_a_variant_that_was_measured_on_the_easy_set_alone_beats_none_that_was_measured_on_both():
    measured = cells({("easy", "A"): 0.9, ("both", "A"): 0.9, ("both", "B"): 0.5})
    study = pl.concat([sizes(easy=1, both=2), measured])
    found = recommend(study, ["accuracy >= 0.6"])
    assert found.select("scheme", "sets").rows() == [("both", "accuracy on A, B")]
    assert found["accuracy >= 0.6"].to_list() == pytest.approx([0.7])
    told = "accuracy: 1 of 2 runs left out, not measured on all sets: easy (lacks B)"
    assert found["note"].to_list() == [told]
    assert left_out(study, ["accuracy >= 0.99"]) == told  # where none meets the wish, too


def test_a_variant_without_a_wished_measure_is_named():
    accuracy = cells({("small", "A"): 0.9, ("large", "A"): 0.9})
    study = pl.concat([sizes(small=1, large=9), accuracy, cells({("large", "X"): 0.01}, "auroc_change", "ood")])
    found = recommend(study, ["accuracy >= 0.6", "ood:auroc_change >= 0"])
    assert found["scheme"].to_list() == ["large"]
    assert found["note"].to_list() == ["1 of 2 variants left out, without a value: small (no ood:auroc_change)"]
    assert found["sets"].to_list() == ["accuracy on A; ood:auroc_change on X"]
    with pytest.raises(ValueError, match=r"on the same sets \(2 of 2 .* large \(no bytes\), small"):
        recommend(study.filter(~((pl.col("scheme") == "large") & (pl.col("suite") == ""))), ["ood:auroc_change >= 0"])


def test_nothing_is_said_of_a_study_that_is_complete():
    assert set(recommend(study(), ["accuracy_delta < 0.05"])["note"]) == {""}


def test_a_wish_that_is_written_twice_is_one():
    twice, once = (recommend(study(), ["accuracy_delta < 0.05"] * n) for n in (2, 1))
    assert twice.equals(once)


def test_a_wish_about_times_is_of_one_tower():
    assert wish("text:latency <= 5") == Wish("deploy", "latency_batch_1_ms", -1, 5.0, "text:latency <= 5", "text")
    assert wish("deploy:memory_change < 1").measure == "peak_memory_mb_change"
    with pytest.raises(ValueError, match=r"^wish 'latency ~ 5' must read .*reliquant time"):
        wish("latency ~ 5")


def test_a_wished_time_is_that_of_one_tower_and_fp32_of_a_runtime_is_no_answer():
    own = rows(Shape(models=(("vit", "wit"),), seeds=(0,), scopes=("image",), iterations=(), ranks=()))
    own = own.filter(pl.col("scheme") != "fp32").with_columns(scheme=pl.col("scheme").cast(pl.String) + "@openvino")
    there = own.filter(measure="accuracy_change", dataset="shapes", severity=0)
    words = {"suite": "deploy", "dataset": "", "measure": "latency_batch_1_ms", "low": None, "high": None}
    lit = {name: pl.lit(word) for name, word in words.items()} | {"replicates": pl.lit(None)}
    times = [
        there.with_columns(**lit, group=pl.lit(tower), value=pl.lit(value)).cast(dict(own.schema))
        for tower, value in (("image", 4.0), ("text", 1.0))
    ]
    both = pl.concat([own, *times])
    fp32 = both.filter(scheme="rtn@openvino", precision="w8a8").with_columns(scheme=pl.lit("fp32@openvino"))
    every = pl.concat([both, fp32.cast(dict(own.schema))])
    found = judged(every, ["latency <= 3.9", "text:latency <= 1"], cost="latency")
    assert set(found["latency <= 3.9"]) == {4.0}
    assert set(found["text:latency <= 1"]) == {1.0}
    assert not any(scheme.startswith("fp32") for scheme in found["scheme"])
