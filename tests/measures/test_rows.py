import time

import numpy as np
import polars as pl
import pytest
from scipy.special import softmax

from reliquant.evaluation.features import Features
from reliquant.evaluation.records import samples_of, top_classes
from reliquant.measures import calibration, detection, shift
from reliquant.measures.rows import SCHEMA, rows

CELL = {"suite": "clean", "dataset": "d", "reference": "d", "group": "", "corruption": "", "severity": 0}


def features(n=80, c=6, d=16, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    text = np.random.default_rng(9).normal(size=(c, d))
    label = np.arange(n) % c
    image = text[label] + noise * np.sqrt(d) * rng.normal(size=(n, d))
    unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (image, text)]
    return Features(*unit, label, 20.0)


def max_cosine(found, train):
    return found.cosine.max(axis=1).astype(float)


def cell(seed=0, noise=0.5, n=80, where=CELL, scores=()):
    known = features(n=n, seed=seed, noise=noise)
    records = samples_of(known, dict(scores))
    where = {**CELL, **where}
    if where["suite"] == "ood":
        records = records.with_columns(label=pl.lit(-1, pl.Int32))
    return records.with_columns(**{k: pl.lit(v) for k, v in where.items()})


def value(found, measure, column="value", **where):
    chosen = found.filter(pl.col("measure") == measure, *(pl.col(k) == v for k, v in where.items()))
    assert len(chosen) == 1, (measure, where, len(chosen))
    return chosen[column].item()


def test_fp32_rows_are_values_with_intervals_and_no_differences():
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


def test_differences_are_variant_minus_fp32_with_interval_and_p():
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


def test_a_variant_equal_to_fp32_has_no_difference_with_p_of_one():
    found = rows(cell(), cell(), resamples=300).filter(pl.col("measure").str.ends_with("_change"))
    assert found["value"].to_list() == [0.0] * len(found)
    assert found["p"].to_list() == [1.0] * len(found)
    assert found["high"].to_numpy() == pytest.approx(0, abs=1e-6)


def test_the_same_records_and_seed_give_the_same_rows_whatever_else_is_in_the_frame():
    a, b = cell(noise=1.0), cell()
    other = a.with_columns(dataset=pl.lit("e"))
    alone = rows(a, b, resamples=200)
    both = rows(pl.concat([other, a.sample(fraction=1, shuffle=True, seed=1)]), pl.concat([b, other]), resamples=200)
    assert both.filter(dataset="d").equals(alone)


def noise(level, n=60):
    parts = [
        cell(seed=s, noise=level * (1 + s / 4), n=n, where={"suite": "noise", "corruption": c, "severity": s})
        for c in ("fog", "snow")
        for s in (1, 2)
    ]
    return pl.concat(parts).with_columns(severity=pl.col("severity").cast(pl.Int8))


def test_noise_has_rows_for_every_cell_and_means_over_corruptions():
    found = rows(noise(1.2), noise(0.8), resamples=400)
    each = found.filter(pl.col("corruption") != "mean", measure="accuracy")
    assert each.select("corruption", "severity").rows() == [("fog", 1), ("fog", 2), ("snow", 1), ("snow", 2)]
    overall = found.filter(corruption="mean", measure="accuracy")
    assert overall["severity"].to_list() == [0, 1, 2]
    assert overall["value"][0] == pytest.approx(each["value"].mean())
    assert overall["value"][1] == pytest.approx(each.filter(severity=1)["value"].mean())
    assert found.filter(corruption="mean", measure="accuracy")["n"].to_list() == [240, 120, 120]
    fp32 = rows(noise(0.8), None, resamples=50)
    a_q, a_f = (x.filter(corruption="mean", severity=0, measure="accuracy")["value"].item() for x in (found, fp32))
    delta = value(found, "accuracy_delta", corruption="mean", severity=0)
    assert delta == pytest.approx((a_f - a_q) / a_f)
    errors = [
        1 - x.filter(pl.col("corruption") != "mean", measure="accuracy")["value"].to_numpy().reshape(2, 2)
        for x in (found, fp32)
    ]
    assert value(found, "mce_to_fp32") == pytest.approx((errors[0].sum(1) / errors[1].sum(1)).mean())


def test_the_mean_over_corruptions_resamples_images_not_cells():
    # the same records under two corruptions say no more than one: the interval must not shrink
    one = cell(seed=3, noise=1.0, where={"suite": "noise", "corruption": "fog", "severity": 1})
    found = rows(pl.concat([one, one.with_columns(corruption=pl.lit("snow"))]), None, resamples=3000)
    width = {
        c: value(found, "accuracy", "high", corruption=c, severity=s)
        - value(found, "accuracy", "low", corruption=c, severity=s)
        for c, s in (("fog", 1), ("mean", 0))
    }
    assert width["mean"] == pytest.approx(width["fog"], rel=1e-3)


def test_noise_cells_of_different_images_are_refused():
    with pytest.raises(ValueError, match="noise suite, d: the images of fog severity 2 are not those of fog"):
        rows(noise(1.0).with_columns(index=pl.int_range(240, dtype=pl.Int32)).filter(pl.len() > 0), None, resamples=10)


def test_spurious_groups_give_rsg_and_added_vulnerability_that_keep_the_identity():
    def groups(a, b):
        return pl.concat(
            [
                cell(seed=1, noise=a, n=90, where={"suite": "spurious", "group": "common"}),
                cell(seed=2, noise=b, n=60, where={"suite": "spurious", "group": "counter"}).with_columns(
                    index=pl.col("index") + 90
                ),
            ]
        )

    found, fp32 = rows(groups(0.9, 1.6), groups(0.5, 0.9), resamples=800), rows(groups(0.5, 0.9), None, resamples=50)
    a = {
        (who, g): value(x, "accuracy", group=g) for who, x in (("q", found), ("f", fp32)) for g in ("common", "counter")
    }
    four = (a["f", "common"], a["f", "counter"], a["q", "common"], a["q", "counter"])
    assert value(found, "rsg") == pytest.approx(shift.rsg(*four[2:]))
    assert value(found, "vuln_add") == pytest.approx(shift.vuln_add(*four))
    delta_n = value(found, "accuracy_delta", group="common")
    right = four[1] / four[0] * value(found, "vuln_add") / (1 - delta_n)
    assert value(found, "rsg_change") == pytest.approx(right)
    assert value(found, "rsg_change", "low") < value(found, "rsg_change") < value(found, "rsg_change", "high")
    assert 0 < value(found, "vuln_add", "p") <= 1
    assert value(found, "worst_group_accuracy") == min(four[2:])
    assert "rsg_change" not in fp32["measure"]


def detection_samples(noise, seed=0):
    scores = {"cosine": max_cosine}.items()
    away = {"suite": "ood", "dataset": "o", "group": "near"}
    return pl.concat([cell(noise=noise, scores=scores), cell(noise=20.0, seed=seed + 5, where=away, scores=scores)])


def test_ood_rows_hold_all_detection_measures_of_every_score_against_the_reference():
    q, f = detection_samples(1.0), detection_samples(0.5)
    found = rows(q, f, resamples=20).filter(suite="ood")
    assert set(found["measure"]) == {x for m in detection.MEASURES for x in (m, f"{m}_change")}
    assert found.select("dataset", "reference", "group", "score").unique().rows() == [("o", "d", "near", "cosine")]
    parts = [[x.filter(suite=s)["score:cosine"].to_numpy() for s in ("clean", "ood")] for x in (q, f)]
    estimates = [detection.auroc(*p) for p in parts]
    assert value(found, "auroc") == estimates[0].value
    row = found.filter(measure="auroc_change").select("value", "low", "high", "p").row(0)
    assert row == pytest.approx(estimates[0].minus(estimates[1]))


def test_ood_needs_its_reference_and_suites_can_be_chosen():
    samples = detection_samples(1.0)
    with pytest.raises(ValueError, match="ood suite, o: there are no records of d in the clean suite"):
        rows(samples.filter(suite="ood"), None)
    assert set(rows(samples, None, suites=["ood"])["suite"]) == {"ood"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.head(79), "suite clean, dataset d, reference d: 80 images here, 79 in the baseline"),
        (lambda f: f.with_columns(dataset=pl.lit("x")), "dataset d, reference d: 80 images here, 0 in the baseline"),
        (lambda f: f.with_columns(label=(pl.col("label") + 1) % 6), "label 0 here, 1 in the baseline"),
        (lambda f: f.with_columns(index=pl.col("index") + 7), "index 0 here, 7 in the baseline"),
        (lambda f: f.with_columns(confidence=pl.lit(np.nan)), "the baseline: confidence of 80 images is NaN, first in"),
        (lambda f: f.with_columns(label=pl.lit(-1)), "the baseline: 80 images without a class, first in suite clean"),
    ],
)
def test_records_that_do_not_match_one_to_one_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        rows(cell(), change(cell()))


def test_the_same_image_twice_is_refused():
    double = pl.concat([cell(), cell()])
    with pytest.raises(ValueError, match="image 0 comes twice in suite clean, dataset d"):
        rows(double, double)


def test_all_correct_has_an_accuracy_interval_below_one():
    perfect = cell(noise=0.01)
    found = rows(perfect, perfect, resamples=100)
    assert value(found, "accuracy") == 1
    assert 0.9 < value(found, "accuracy", "low") < 1
    assert value(found, "accuracy_change", "p") == 1
    assert value(found, "misclassification_auroc") is None


def test_one_image_and_one_class_are_defined():
    one = cell(n=1)
    found = rows(one, one, resamples=50)
    assert value(found, "accuracy") in (0.0, 1.0)
    assert value(found, "nll", "low") == pytest.approx(one["nll"].item())
    single = cell(n=30).with_columns(label=pl.lit(2, pl.Int32))
    assert value(rows(single, None, resamples=50), "balanced_accuracy") == pytest.approx(
        (single["prediction"] == 2).mean()
    )


def test_a_noise_suite_of_75_cells_takes_seconds():
    cells = [
        cell(seed=s, noise=0.6, n=100, where={"suite": "noise", "corruption": str(c), "severity": s})
        for c in range(15)
        for s in range(1, 6)
    ]
    frame = pl.concat(cells)
    start = time.perf_counter()
    rows(frame, frame, resamples=2000)
    assert time.perf_counter() - start < 6


def test_bin_measures_equal_the_functions_and_their_intervals_hold_a_bootstrap():
    samples = cell(n=300, noise=1.0)
    found = rows(samples, None, resamples=2000)
    confidence, correct = samples["confidence"].to_numpy(), (samples["prediction"] == samples["label"]).to_numpy()
    for f in (calibration.mce, calibration.debiased_ce):
        assert value(found, f.__name__) == pytest.approx(f(confidence, correct), rel=1e-4)
        rng = np.random.default_rng(0)
        drawn = [f(confidence[k], correct[k]) for k in (rng.integers(300, size=300) for _ in range(400))]
        low, high = (value(found, f.__name__, end) for end in ("low", "high"))
        assert (low, high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.06)


def test_the_divergence_from_fp32_is_in_the_rows_where_records_hold_it():
    def with_classes(noise):
        known = features(noise=noise)
        return (
            samples_of(known, {})
            .with_columns(top_classes(known))
            .with_columns(**{k: pl.lit(v) for k, v in CELL.items()})
        )

    a, b = features(noise=0.5), features(noise=0.6)
    p, q = (softmax(f.logits.astype(float), axis=1) for f in (a, b))
    found = rows(with_classes(0.6), with_classes(0.5), resamples=300)
    assert value(found, "kl_to_fp32") == pytest.approx((p * np.log(p / q)).sum(axis=1).mean(), rel=1e-4)
    assert value(found, "kl_to_fp32", "low") < value(found, "kl_to_fp32") < value(found, "kl_to_fp32", "high")
    assert "kl_to_fp32" not in rows(with_classes(0.5), None, resamples=50)["measure"].to_list()


def test_corruption_errors_are_absolute_relative_and_of_what_corruption_adds():
    clean = [cell(noise=x, n=60) for x in (0.9, 0.7)]
    both = [
        pl.concat([noise(x), c.with_columns(severity=pl.lit(0, pl.Int8))])
        for x, c in zip((1.2, 0.8), clean, strict=True)
    ]
    found = rows(*both, resamples=400, suites=["noise"])
    alone = rows(noise(1.2), noise(0.8), resamples=400)
    assert "relative_mce_to_fp32" not in alone["measure"].to_list()
    assert "" not in found["corruption"].to_list()

    def errors(frame):
        wrong = frame.with_columns(wrong=(pl.col("prediction") != pl.col("label")).cast(float))
        each = wrong.group_by("corruption", "severity").agg(pl.col("wrong").mean()).sort("corruption", "severity")
        return each["wrong"].to_numpy().reshape(2, 2)

    q, f = errors(noise(1.2)), errors(noise(0.8))
    q_clean, f_clean = ((c["prediction"] != c["label"]).mean() for c in clean)
    assert value(found, "mean_corruption_error") == pytest.approx(q.mean())
    assert value(found, "mce_to_fp32") == pytest.approx((q.sum(1) / f.sum(1)).mean())
    added = ((q - q_clean).sum(1) / (f - f_clean).sum(1)).mean()
    assert value(found, "relative_mce_to_fp32") == pytest.approx(added, rel=1e-5)
