"""Rows of arrays so small that every value can be worked out by hand."""

import numpy as np
import polars as pl
import pytest

from reliquant.evaluation import explain_rows
from reliquant.evaluation.features import Features
from reliquant.measures.controls import CONTROLS

AXES = np.eye(4, dtype=np.float32)


def value(rows, measure, group="", column="value"):
    chosen = [row for row in rows if row["measure"] == measure and row["group"] == group]
    assert len(chosen) == 1, (measure, group, len(chosen))
    return chosen[0][column]


def test_margins_are_to_the_best_other_class_and_shift_from_fp32():
    image = np.array([[1, 0, 0, 0], [0.8, 0.6, 0, 0]], np.float32)
    exact = Features(image, AXES[:3], np.array([0, 0]), 10.0)
    own = Features(image[::-1].copy(), AXES[:3], np.array([0, 0]), 10.0)
    rows = explain_rows.of_margins(exact, None)
    assert value(rows, "margin") == pytest.approx((10 + 2) / 2)
    assert not any(row["measure"].endswith("_change") for row in rows)
    moved = explain_rows.of_margins(Features(image[:1].repeat(2, 0), AXES[:3], np.array([0, 0]), 10.0), exact)
    assert value(moved, "margin_change") == pytest.approx((0 + 8) / 2)
    swapped = explain_rows.of_margins(own, exact)
    assert value(swapped, "margin_change") == pytest.approx(0)
    assert value(swapped, "margin_change", column="n") == 2


def test_spectra_of_axis_aligned_features_have_known_shares_and_sqnr():
    exact = np.array([[3, 0], [-3, 0], [0, 1], [0, -1]], float)
    noisy = exact * [1.0, 0.9]
    rng = np.random.default_rng(0)
    rows = explain_rows.of_spectra(exact, noisy, rng=rng)
    energy = np.array([18, 2 * 0.81])
    assert value(rows, "energy_share_rank_0") == pytest.approx(energy[0] / energy.sum())
    assert value(rows, "energy_share_rank_1") == pytest.approx(energy[1] / energy.sum())
    assert value(rows, "sqnr") == pytest.approx(10 * np.log10(20 / 0.02))
    assert value(rows, "sqnr_rank_1") == pytest.approx(10 * np.log10(2 / 0.02))
    assert value(rows, "effective_rank_change") < 0
    alone = {row["measure"] for row in explain_rows.of_spectra(exact, None, rng=rng)}
    assert alone == {"energy_share_rank_0", "energy_share_rank_1", "effective_rank"}


def test_the_classifier_of_bands_is_asked_with_each_ones_own_text():
    rng = np.random.default_rng(0)
    label = np.arange(40) % 4
    exact = AXES[label] * [9.0, 5.0, 3.0, 2.0] + rng.normal(scale=1e-3, size=(40, 4))
    turned = np.roll(AXES, 1, axis=0)
    texts = {"exact_text": AXES, "noisy_text": turned}
    rows = explain_rows.of_bands(exact, exact, label, **texts)
    alone = explain_rows.of_bands(exact, None, label, exact_text=AXES, noisy_text=None)
    assert [row["measure"] for row in alone] == ["accuracy_rank_0_1", "accuracy_rank_1_2", "accuracy_rank_2_end"]
    same = explain_rows.of_bands(exact, exact, label, exact_text=AXES, noisy_text=AXES)
    for row in alone:
        assert value(same, row["measure"]) == row["value"]
        assert value(same, f"{row['measure']}_fp32_basis_change") == 0
    moved = [value(rows, f"{row['measure']}_change") for row in alone]
    assert moved != [0, 0, 0]
    for row, change in zip(alone, moved, strict=True):
        assert value(rows, row["measure"]) == pytest.approx(row["value"] + change)


def test_controls_are_measured_against_fp32_and_only_the_variant_has_its_own_values():
    rng = np.random.default_rng(1)
    label = np.arange(60) % 4
    exact = AXES[label] + rng.normal(scale=0.3, size=(60, 4))
    noisy = exact + rng.normal(scale=0.5, size=(60, 4))
    own, fp32 = (
        Features((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), AXES, label, 10.0)
        for x in (noisy, exact)
    )
    words = {"exact_features": fp32, "noisy_features": own, "rng": np.random.default_rng(0), "resamples": 50}
    rows = explain_rows.of_controls(exact, noisy, **words)
    accuracy = [(f.cosine.argmax(axis=1) == label).mean() for f in (own, fp32)]
    assert value(rows, "accuracy") == pytest.approx(accuracy[0])
    assert value(rows, "accuracy_change") == pytest.approx(accuracy[0] - accuracy[1])
    assert [row["group"] for row in rows if row["measure"] == "accuracy_change"] == ["", *CONTROLS]
    assert [row["group"] for row in rows if row["measure"] == "accuracy"] == [""]


def test_energy_of_a_wave_lies_at_its_radius():
    x = np.arange(8)
    slow, fast = (np.cos(2 * np.pi * k * x / 8)[None, :].repeat(8, 0) for k in (1, 4))
    maps = np.stack([slow, fast])[:, None]  # (2, 1, 8, 8)
    rows = explain_rows.of_maps(maps, None)
    assert value(rows, "radial_energy", "0.25") == pytest.approx(0.5)
    assert value(rows, "radial_energy", "1") == pytest.approx(0.5)
    assert value(rows, "low_frequency_share") == pytest.approx(0.5)
    moved = explain_rows.of_maps(maps, np.stack([slow, slow])[:, None])
    assert value(moved, "low_frequency_share_change") == pytest.approx(-0.5)


def records(prediction, confidence, group=""):
    n = len(prediction)
    return pl.DataFrame(
        {
            "group": [group] * n,
            "label": [0] * n,
            "prediction": prediction,
            "confidence": pl.Series(confidence, dtype=pl.Float32),
        }
    )


def test_trajectories_follow_fp32s_bins_and_classes_lose_accuracy():
    fp32 = records([0] * 12, [0.35] * 6 + [0.95] * 6)
    own = records([0] * 6 + [1] * 6, [0.55] * 6 + [0.75] * 6)
    rows = explain_rows.of_records(own, fp32, ["cat", "dog"])
    assert value(rows, "trajectory_confidence", "bin 3") == pytest.approx(0.55)
    assert value(rows, "trajectory_accuracy", "bin 9") == 0
    assert value(rows, "reliability_accuracy", "bin 5") == 1
    assert value(rows, "reliability_confidence", "bin 7") == pytest.approx(0.75)
    assert value(rows, "class_accuracy_change", "cat") == pytest.approx(-0.5)
    assert not any(row["group"] == "dog" for row in rows)


def test_bins_and_classes_of_fewer_than_five_images_have_no_row():
    few = records([0] * 4, [0.35] * 4)
    assert explain_rows.of_records(few, few, ["cat"]) == []


def test_groups_of_images_have_class_rows_of_their_own():
    fp32 = pl.concat([records([0] * 5, [0.5] * 5, "common"), records([0] * 5, [0.5] * 5, "counter")])
    own = fp32.with_columns(prediction=pl.Series([0] * 5 + [1] * 5))
    rows = explain_rows.of_records(own, fp32, ["cat"])
    assert value(rows, "common_class_accuracy_change", "cat") == 0
    assert value(rows, "counter_class_accuracy_change", "cat") == -1
