import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from reliquant.evaluation.features import Features
from reliquant.evaluation.records import samples_of
from reliquant.evaluation.scales import (
    at_scale,
    at_sigmoid,
    at_temperature,
    at_word,
    scale_rows,
    scaled_rows,
    scales_of,
)
from reliquant.measures.rows import rows

PLACE = {"suite": "clean", "dataset": "d", "reference": "d", "group": "", "corruption": ""}
NAMES = ("confidence", "nll", "brier")


def calibrated(n, scale, seed=0, c=5):
    """Features whose labels are drawn at the probabilities that `scale` gives them."""
    rng = np.random.default_rng(seed)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rng.normal(size=(n, 8)), rng.normal(size=(c, 8)))]
    p = softmax(scale * unit[0] @ unit[1].T, axis=1)
    label = (rng.random((n, 1)) < p.cumsum(axis=1)).argmax(axis=1)
    return Features(unit[0].astype(np.float32), unit[1].astype(np.float32), label, scale)


def keys(n, seed=0):
    return np.random.default_rng(seed).integers(0, 2**63, n).astype(np.uint64)


def max_cosine(found, train):
    return found.cosine.max(axis=1).astype(float)


def records(features, *columns, suite="clean"):
    place = {**PLACE, "suite": suite}
    frame = samples_of(features, {"cosine": max_cosine}).with_columns(list(columns))
    return frame.with_columns(severity=pl.lit(0, pl.Int8), **{k: pl.lit(v) for k, v in place.items()})


def test_another_scale_stands_beside_the_own_one_until_it_takes_its_place():
    f = calibrated(80, 20.0)
    own = samples_of(f, {"cosine": max_cosine})
    assert at_word(own, "tuned") is None
    cooler = samples_of(replace(f, logit_scale=5.0), {})
    both = own.with_columns(*at_scale(f, 5.0), *at_scale(f, 7.0, "tuned:captions"))
    assert both["confidence_tuned"].to_list() == cooler["confidence"].to_list()
    assert both["confidence"].to_list() == own["confidence"].to_list()
    assert at_word(both, "tuned").select(cooler.columns).equals(cooler)
    assert set(at_word(both, "tuned").columns) == set(cooler.columns)
    warmer = samples_of(replace(f, logit_scale=7.0), {})
    assert at_word(both, "tuned:captions")["nll"].to_list() == warmer["nll"].to_list()


def test_each_half_is_measured_at_the_temperature_that_minimises_the_nll_of_the_other():
    f, photographs = calibrated(300, 6.0), keys(300)
    f = replace(f, logit_scale=15.0)
    columns = {c.name: c.to_numpy() for c in at_temperature(f, photographs)}
    odd = photographs % 2 == 1
    for own in (odd, ~odd):

        def nll(t, own=own):
            log_p = log_softmax(f.logits[~own].astype(float) / t, axis=1)
            return -log_p[np.arange(len(log_p)), f.label[~own]].mean()

        t = minimize_scalar(nll, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-8}).x
        p = softmax(f.logits[own].astype(float) / t, axis=1)
        np.testing.assert_allclose(columns["confidence_temperature"][own], p.max(axis=1), rtol=1e-4)
        own_p = p[np.arange(own.sum()), f.label[own]]
        np.testing.assert_allclose(columns["nll_temperature"][own], -np.log(own_p), rtol=1e-3, atol=1e-4)


def test_an_image_never_helps_to_fit_the_temperature_that_measures_it():
    f, photographs = calibrated(200, 6.0), keys(200)
    photographs[100:] = photographs[:100]  # copies of the first hundred
    f = Features(np.tile(f.image[:100], (2, 1)), f.text, np.tile(f.label[:100], 2), 6.0)
    before = at_temperature(f, photographs)[0].to_numpy()
    changed = f.label.copy()
    changed[[7, 107]] = (changed[7] + 1) % 5
    after = at_temperature(replace(f, label=changed), photographs)[0].to_numpy()
    same_half = photographs % 2 == photographs[7] % 2
    assert np.array_equal(before[same_half], after[same_half])
    assert not np.isclose(before[~same_half], after[~same_half], rtol=1e-7).any()


def nll_at(features, label_shares, scale):
    """Mean NLL where `label_shares` (n, c) are the shares of the labels: drawn ones, or the expected ones."""
    log_p = log_softmax(scale * features.cosine.astype(float), axis=1)
    return -(label_shares * log_p).sum(axis=1).mean()


def test_a_cross_fitted_temperature_is_as_far_from_the_truth_as_on_fresh_images_and_a_fitted_one_seems_nearer():
    crossed, fresh, itself = [], [], []
    for seed in range(200):
        f, many = calibrated(100, 4.0, seed), calibrated(4000, 4.0, seed)
        drawn, many = np.eye(5)[f.label], replace(many, text=f.text)
        truth = nll_at(f, drawn, 4.0)
        crossed.append(at_temperature(replace(f, logit_scale=20.0), keys(100, seed))[1].mean() - truth)
        words = {"bounds": (2, 200), "method": "bounded"}
        best = minimize_scalar(lambda scale, f=f, drawn=drawn: nll_at(f, drawn, scale), **words)
        itself.append(best.fun - truth)
        half = calibrated(50, 4.0, 1000 + seed)
        half = replace(half, text=f.text, label=(half.image @ f.text.T * 4.0 + gumbel(50, seed)).argmax(axis=1))
        other = minimize_scalar(lambda scale, f=half: nll_at(f, np.eye(5)[f.label], scale), **words)
        expected = softmax(4.0 * many.cosine.astype(float), axis=1)
        fresh.append(nll_at(many, expected, other.x) - nll_at(many, expected, 4.0))
    error = np.hypot(np.std(crossed), np.std(fresh)) / np.sqrt(200)
    assert np.mean(itself) < 0 < np.mean(fresh)
    assert np.mean(crossed) > 3 * error
    assert abs(np.mean(crossed) - np.mean(fresh)) < 3 * error


def gumbel(n, seed):
    return np.random.default_rng([9, seed]).gumbel(size=(n, 5))


def test_too_few_images_have_no_temperature_and_perfect_ones_a_limited_one():
    f = calibrated(30, 6.0)
    assert at_temperature(f, keys(30)) == []
    text = np.eye(8, dtype=np.float32)[:4]
    f = Features(text[np.arange(100) % 4], text, np.arange(100) % 4, 1.0)
    confidence = at_temperature(f, keys(100))[0]
    assert confidence.to_numpy() == pytest.approx(np.exp(10) / (np.exp(10) + 3), rel=1e-5)


def test_changes_at_a_scale_are_to_fp32_native_and_to_fp32_tuned_on_the_same_pairs():
    truth = calibrated(400, 6.0)
    variant = replace(truth, logit_scale=12.0, image=calibrated(400, 6.0, seed=3).image * 0.2 + truth.image * 0.8)
    photographs = keys(400)
    exact = records(truth, *at_scale(truth, 5.0, "tuned:a"), *at_scale(truth, 2.0, "tuned:b"))
    exact = exact.with_columns(at_temperature(truth, photographs))
    mine = records(variant, *at_scale(variant, 8.0)).with_columns(at_temperature(variant, photographs))
    found = pl.concat(scaled_rows(mine, exact, "a", suites={"clean"}, resamples=200), how="diagonal")
    value = {(s, m): v for s, m, v in found.select("scale", "measure", "value").rows()}

    def nll(f, scale):
        return samples_of(replace(f, logit_scale=scale), {})["nll"].mean()

    assert value["tuned", "nll"] == pytest.approx(nll(variant, 8.0), rel=1e-5)
    assert value["tuned", "nll_change"] == pytest.approx(nll(variant, 8.0) - nll(truth, 6.0), rel=1e-3)
    assert value["both_tuned", "nll_change"] == pytest.approx(nll(variant, 8.0) - nll(truth, 5.0), rel=1e-3)
    assert value["temperature", "nll"] == pytest.approx(mine["nll_temperature"].mean(), rel=1e-5)
    both = mine["nll_temperature"].mean() - exact["nll_temperature"].mean()
    assert value["both_temperature", "nll_change"] == pytest.approx(both, rel=1e-3)
    assert {"tuned", "both_tuned", "temperature", "both_temperature"} == {s for s, _ in value}
    assert all(m.endswith("_change") for s, m in value if s.startswith("both"))
    assert {"squared_ce_change", "brier_change"} <= {m for s, m in value if s == "both_tuned"}
    assert not {m for _, m in value if "accuracy" in m or "agreement" in m}


def test_a_model_that_only_tuning_helps_does_not_change_against_tuned_fp32():
    truth = replace(calibrated(400, 6.0), logit_scale=30.0)  # over-confident, and so is its perfect copy
    exact = records(truth, *at_scale(truth, 6.0, "tuned:a"))
    copy = records(truth, *at_scale(truth, 6.0))
    found = pl.concat(scaled_rows(copy, exact, "a", suites={"clean"}, resamples=200), how="diagonal")
    change = found.filter(measure="squared_ce_change")
    assert change.filter(scale="tuned")["value"].item() < -0.02
    assert change.filter(scale="both_tuned")["value"].item() == pytest.approx(0.0, abs=1e-9)


def test_fp32_has_rows_at_each_proxys_scale_and_no_changes():
    f = calibrated(200, 6.0)
    frame = records(f, *at_scale(f, 5.0, "tuned:a"), *at_scale(f, 2.0, "tuned:b"))
    found = pl.concat(scaled_rows(frame, None, "none", suites={"clean"}, resamples=200), how="diagonal")
    nll = dict(found.filter(measure="nll", scale="tuned").select("proxy", "value").rows())
    assert nll == {"a": pytest.approx(frame["nll_tuned:a"].mean()), "b": pytest.approx(frame["nll_tuned:b"].mean())}
    assert not found["measure"].str.contains("_change").any()


def test_rows_at_a_scale_are_those_of_the_suites_asked_for_and_never_of_ood():
    f = calibrated(100, 6.0)
    clean = records(f, *at_scale(f, 5.0)).with_columns(at_temperature(f, keys(100)))
    shift = records(f, *at_scale(f, 5.0), suite="shift").with_columns(dataset=pl.lit("s"))
    ood = records(f, *at_scale(f, 5.0), suite="ood").with_columns(label=pl.lit(-1, pl.Int32), dataset=pl.lit("o"))
    frame = pl.concat([clean, shift, ood], how="diagonal")
    found = pl.concat(scaled_rows(frame, frame, "a", suites={"shift", "ood"}, resamples=200), how="diagonal")
    assert found["suite"].unique().to_list() == ["shift"]
    assert "temperature" not in found["scale"]
    alone = pl.concat(scaled_rows(shift, None, "a", suites={"shift"}, resamples=200), how="diagonal")
    expected = rows(at_word(shift, "tuned"), None, resamples=200).filter(measure="squared_ce")
    assert alone.filter(measure="squared_ce").drop("scale").equals(expected)


def test_headers_say_the_scales_and_how_well_they_are_known():
    tuned = {"objective": "contrastive", "scale": 20.0, "error": 2.0, "native": 26.0, "pairs": 100, "captions": 95}
    variant, exact = (
        {"logit_scale_tuned": 20.0, "tuned": tuned},
        {"tuned_on": {"a": tuned, "b": {**tuned, "scale": 9.0}}},
    )
    assert scales_of(json.loads(json.dumps(variant))) == {"tuned": 20.0}
    assert scales_of({"logit_scale_tuned": None, **exact}) == {"tuned:a": 20.0, "tuned:b": 9.0}
    assert scales_of({}) == {}
    row = scale_rows(variant).row(0, named=True)
    assert (row["measure"], row["scale"], row["value"], row["n"]) == ("logit_scale", "tuned", 20.0, 100)
    assert (row["low"], row["high"]) == pytest.approx((20 / 1.2165, 20 * 1.2165), rel=1e-4)  # exp(1.96 x 0.1)
    assert scale_rows(exact)["proxy"].to_list() == ["a", "b"]
    assert len(scale_rows({})) == 0
    unknown = scale_rows({"tuned": {**tuned, "error": None}}).row(0, named=True)
    assert (unknown["low"], unknown["high"]) == (None, None)


def sigmoid_model(n=400, seed=1, noise=0.3):
    """A model of yes and no whose labels are the likeliest class as often as its sigmoid says, and no class else."""
    rng = np.random.default_rng(seed)
    f = replace(calibrated(n, 12.0, seed=3), logit_bias=-5.0)
    right = rng.random(n) < 1 / (1 + np.exp(-f.logits.max(axis=1)))
    best = f.logits.argmax(axis=1)
    moved = f.image + noise * np.random.default_rng(seed + 1).normal(size=f.image.shape).astype(np.float32) / 3
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    f = replace(f, label=np.where(right, best, (best + 1) % 5))
    return f, replace(f, image=moved)


def test_a_sigmoid_is_of_the_predicted_class_and_its_answer_is_yes_or_no():
    f, _ = sigmoid_model(50)
    f = replace(f, label=np.where(np.arange(50) < 45, f.label, -1))
    found = {series.name: series for series in at_sigmoid(f)}
    p = 1 / (1 + np.exp(-f.logits.astype(float).max(axis=1)))
    right = f.logits.argmax(axis=1) == f.label
    np.testing.assert_allclose(found["confidence_sigmoid"], p, rtol=1e-5)
    np.testing.assert_allclose(found["nll_sigmoid"][:45], -np.log(np.where(right, p, 1 - p))[:45], rtol=1e-4)
    np.testing.assert_allclose(found["brier_sigmoid"][:45], ((p - right) ** 2)[:45], rtol=1e-4)
    assert found["nll_sigmoid"].null_count() == found["brier_sigmoid"].null_count() == 5
    assert at_sigmoid(replace(f, logit_bias=0.0)) == []


def test_rows_of_the_sigmoid_are_calibration_alone_and_change_against_fp32s_sigmoid():
    exact, quantized = (records(f, *at_sigmoid(f)) for f in sigmoid_model())
    words = {"suites": {"clean"}, "resamples": 200}
    (found,) = scaled_rows(quantized, exact, "captions", **words)
    assert found["scale"].unique().to_list() == ["sigmoid"]
    assert "accuracy" not in found["measure"].to_list()
    gap = {name: found.filter(measure=name)["value"].item() for name in ("confidence_gap", "confidence_gap_change")}
    right = (quantized["prediction"] == quantized["label"]).mean()
    assert gap["confidence_gap"] == pytest.approx(quantized["confidence_sigmoid"].mean() - right, abs=1e-6)
    own = exact["confidence_sigmoid"].mean() - (exact["prediction"] == exact["label"]).mean()
    assert gap["confidence_gap_change"] == pytest.approx(gap["confidence_gap"] - own, abs=1e-6)
    (alone,) = scaled_rows(exact, None, "", **words)
    calibrated_gap = alone.filter(measure="confidence_gap")
    assert calibrated_gap["low"].item() < 0 < calibrated_gap["high"].item()
    softmax_gap = rows(exact, None, resamples=200).filter(measure="confidence_gap")
    assert softmax_gap["low"].item() > 0  # the same logits as a softmax are over-confident
