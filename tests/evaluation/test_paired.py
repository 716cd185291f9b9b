"""Changes of anybody's tables to their reference: by hand, by a plain bootstrap, and beside what each says alone."""

import numpy as np
import polars as pl
import pytest

from reliquant import plugins
from reliquant.evaluation.answers import answers_of_features, answers_of_predictions
from reliquant.evaluation.features import Features
from reliquant.evaluation.paired import Labels, Quantized, measure_answers, measure_paired
from reliquant.files.artifacts import ROW_SCHEMA, read_facts, save_frame
from reliquant.files.stored_frames import read_rows

OF = Labels("mine", "clip")
SCORES = {name: plugins.load("score", {"score": name}) for name in ("mcm", "msp")}


def features(n=90, c=5, d=12, seed=0):
    rng = np.random.default_rng(seed)
    text, label = rng.normal(size=(c, d)), rng.integers(0, c, n)
    image = text[label] + 1.2 * rng.normal(size=(n, d))
    unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (image, text)]
    return Features(*unit, label, 12.0)


def rounded(f, bits):
    """Round image embeddings to a grid of so many bits, scaled by the largest of each vector."""
    top = 2 ** (bits - 1) - 1
    scale = np.abs(f.image).max(axis=1, keepdims=True) / top
    image = np.round(f.image / scale) * scale
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    return Features(image.astype(np.float32), f.text, f.label, f.logit_scale, photographs=f.photographs)


def answers(f, ood=None):
    return answers_of_features(f, {} if ood is None else {"o": ood}, SCORES)


def value(rows, measure, scheme="q", **where):
    found = rows.filter(pl.col("measure") == measure, scheme=scheme, scale="native", **where)
    assert found.height == 1, (measure, found)
    return found.row(0, named=True)


def test_a_case_worked_by_hand():
    label = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    fp32 = np.array([0, 0, 0, 1, 1, 1, 0, 0, 2, 2])  # 7 of 10 right
    int8 = np.array([0, 0, 1, 0, 1, 0, 1, 2, 2, 2])  # 7 of 10 right; two fall, two rise, one is wrong another way
    rows = measure_paired(
        {"q": Quantized(answers_of_predictions(int8, label))}, answers_of_predictions(fp32, label), OF
    )
    assert value(rows, "accuracy", "fp32")["value"] == pytest.approx(0.7)
    assert value(rows, "accuracy")["value"] == pytest.approx(0.7)
    assert value(rows, "accuracy_change")["value"] == pytest.approx(0.0)
    assert value(rows, "accuracy_delta")["value"] == pytest.approx(0.0)
    assert value(rows, "flips_right_to_wrong")["value"] == pytest.approx(0.2)
    assert value(rows, "flips_wrong_to_right")["value"] == pytest.approx(0.2)
    assert value(rows, "agreement")["value"] == pytest.approx(0.5)
    balanced = (3 / 4 + 2 / 4 + 1) / 3
    assert value(rows, "balanced_accuracy")["value"] == pytest.approx(balanced)
    assert value(rows, "accuracy_change")["p"] > 0.9


def test_intervals_are_those_of_a_plain_paired_bootstrap():
    rng = np.random.default_rng(4)
    n, label = 600, np.zeros(600, int)
    fp32 = (rng.random(n) > 0.85).astype(int)
    int4 = np.where(rng.random(n) < 0.12, 1, fp32)
    rows = measure_paired(
        {"q": Quantized(answers_of_predictions(int4, label))}, answers_of_predictions(fp32, label), OF
    )
    difference = (int4 == 0).astype(float) - (fp32 == 0)
    drawn = np.array([difference[rng.integers(0, n, n)].mean() for _ in range(4000)])
    change = value(rows, "accuracy_change")
    assert change["value"] == pytest.approx(difference.mean())
    assert [change["low"], change["high"]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.003)
    unpaired = 2 * 1.96 * np.sqrt(2 * 0.15 * 0.85 / n)
    assert change["high"] - change["low"] < 0.9 * unpaired  # the two share their images


def test_the_temperature_changes_as_a_plain_bootstrap_of_both_says():
    from reliquant.measures.temperature import best_temperature

    f = features(n=400, c=4, d=24)
    q = rounded(f, 3)
    rows = measure_paired({"q": Quantized(answers(q))}, answers(f), OF, resamples=200)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(300):
        at = rng.integers(0, 400, 400)
        drawn.append(np.subtract(*(best_temperature(x.logits[at].astype(float), f.label[at]) for x in (q, f))))
    change = value(rows, "best_temperature_change")
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert change["high"] - change["low"] == pytest.approx(high - low, rel=0.35)
    assert change["value"] == pytest.approx(
        np.subtract(*(best_temperature(x.logits, f.label) for x in (q, f))), abs=1e-3
    )


def test_a_table_against_itself_changes_by_exactly_nothing():
    f, o = features(), features(seed=1)
    rows = measure_paired({"q": Quantized(answers(f, o))}, answers(f, o), OF, resamples=300)
    at_home = rows.filter(scheme="q").filter(pl.col("scale").is_in(["native", "both_temperature"]))
    changes = at_home.filter(pl.col("measure").str.contains(r"_change$|_delta$|^flips|^kl_to"))
    assert changes.height > 60
    assert changes["value"].to_list() == [0.0] * changes.height
    assert changes.filter(pl.col("p") < 0.9).height == 0
    assert changes.filter(pl.col("low") > 0).height == changes.filter(pl.col("high") < 0).height == 0
    assert value(rows, "agreement")["value"] == 1


def test_values_are_those_of_each_table_alone():
    f, o = features(), features(seed=1)
    q, qo = rounded(f, 4), rounded(o, 4)
    rows = measure_paired({"q": Quantized(answers(q, qo))}, answers(f, o), OF, resamples=300)
    for scheme, told in (("q", answers(q, qo)), ("fp32", answers(f, o))):
        alone = measure_answers(told, resamples=300)
        for dataset, measures in alone.items():
            for name, one in measures.items():
                score = next((s for s in SCORES if name.startswith(f"{s}_")), "")
                row = value(rows, name.removeprefix(f"{score}_"), scheme, dataset=dataset, score=score)
                assert (row["value"], row["n"]) == (one["value"], one["n"]), name
                ends = pytest.approx([one["low"], one["high"]], abs=1e-3)  # what may flip unseen counts for both
                assert [row["low"], row["high"]] == ends, name


def test_a_variant_has_the_same_rows_whatever_stands_beside_it():
    f = features()
    q, other = Quantized(answers(rounded(f, 4))), Quantized(answers(rounded(f, 3)))
    alone = measure_paired({"q": q}, answers(f), OF, resamples=200)
    both = measure_paired({"a": other, "q": q}, answers(f), OF, resamples=200)
    assert alone.equals(both.filter(pl.col("scheme") != "a"))


def test_rows_are_those_of_a_study_with_the_reference_as_fp32_and_sizes_where_they_are_known(tmp_path):
    f = features()
    q = {"q": Quantized(answers(rounded(f, 4)), precision="w4a16", measures={"bytes": 100, "bytes_fp32": 800})}
    rows = measure_paired(q, answers(f), OF, reference_measures={"bytes": 800}, resamples=200)
    assert dict(rows.schema) == dict(ROW_SCHEMA)
    save_frame(tmp_path / "rows.parquet", rows, {"assumed": []})
    assert read_rows(tmp_path / "rows.parquet").equals(rows)
    assert read_facts(tmp_path / "rows.parquet") == {"assumed": []}
    variant = rows.select(
        "study", "model", "source", "scheme", "family", "precision", "scope", "proxy", "seed"
    ).unique()
    assert sorted(variant.rows()) == [
        ("mine", "clip", "unknown", "fp32", "FP32", "fp32", "none", "none", 0),
        ("mine", "clip", "unknown", "q", "q", "w4a16", "unknown", "none", 0),
    ]
    assert rows.filter(suite="").select("scheme", "measure", "value").rows() == [
        ("fp32", "bytes", 800.0),
        ("q", "bytes", 100.0),
        ("q", "bytes_fp32", 800.0),
    ]
    assert rows.filter(measure="accuracy_change", scale="native")["replicates"].null_count() == 0


def test_replicates_follow_the_photographs_where_the_reference_has_them():
    f = features()
    keys = np.arange(90, dtype=np.uint64) * 7919
    known = Features(f.image, f.text, f.label, f.logit_scale, photographs=keys)
    q = Quantized(answers(rounded(f, 3)))
    kept = {}
    for name, reference in (("with", known), ("without", f)):
        rows = measure_paired({"q": q}, answers(reference), OF, resamples=100)
        one, two = (value(rows, "accuracy", s)["replicates"] for s in ("q", "fp32"))
        change = value(rows, "accuracy_change")["replicates"]
        spread = np.std(np.subtract(one, two))
        assert spread == pytest.approx(np.std(change), rel=0.4), name  # drawn together: the difference is the change's
        kept[name] = one
    assert kept["with"] != kept["without"]


def test_what_predictions_know_bounds_what_is_measured_of_a_pair():
    f = features()
    told = answers_of_predictions(f.logits.argmax(axis=1), f.label)
    rows = measure_paired({"q": Quantized(answers(rounded(f, 4)))}, told, OF, resamples=100)
    assert set(rows.filter(scheme="fp32")["measure"]) == {"accuracy", "balanced_accuracy"}
    assert "nll_change" not in set(rows["measure"])
    assert {"accuracy_change", "agreement"} <= set(rows.filter(scheme="q")["measure"])


def test_tables_of_other_images_are_refused_by_the_variants_name():
    f, o = features(), features(seed=1)
    fewer = answers(features(n=80))
    with pytest.raises(ValueError, match="int8: 80 images here, 90 in the reference"):
        measure_paired({"int8": Quantized(fewer)}, answers(f), OF, resamples=100)
    with pytest.raises(
        ValueError, match="int8: OOD sets must be there for variant and reference; one of the two lacks o"
    ):
        measure_paired({"int8": Quantized(answers(f, o))}, answers(f), OF, resamples=100)
    turned = Features(f.image, f.text, f.label[::-1].copy(), f.logit_scale)
    with pytest.raises(ValueError, match="int8: variant and baseline differ in suite clean, dataset images"):
        measure_paired({"int8": Quantized(answers(turned))}, answers(f), OF, resamples=100)
