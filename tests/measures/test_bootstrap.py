import numpy as np
import polars as pl
import pytest
from scipy.special import softmax

from reliquant.evaluation.records import class_columns, samples_of
from reliquant.measures import calibration
from reliquant.measures.bootstrap import FP32, VARIANT, Replicated, Sampled, applied, described
from reliquant.measures.resampling import keys, unseen
from reliquant.measures.rows import rows
from reliquant.measures.stats import wilson

CELL = {"suite": "clean", "dataset": "d", "reference": "d", "group": "", "corruption": "", "severity": 0}


def test_calibration_errors_of_bins_equal_the_functions_and_have_no_interval(cell, value):
    samples = cell(n=300, noise=1.0)
    found = rows(samples, None, resamples=200)
    confidence, correct = samples["confidence"].to_numpy(), (samples["prediction"] == samples["label"]).to_numpy()
    for f in (calibration.ece, calibration.mce, calibration.debiased_ce, calibration.ece_equal_mass):
        assert value(found, f.__name__) == pytest.approx(f(confidence, correct), rel=1e-4)
        assert [value(found, f.__name__, end) for end in ("low", "high", "replicates")] == [None] * 3


def test_ece_if_calibrated_is_the_mean_ece_of_labels_drawn_from_the_confidences(cell, value):
    samples = cell(n=400, noise=1.0)
    confidence, rng = samples["confidence"].to_numpy(), np.random.default_rng(0)
    drawn = [calibration.ece(confidence, rng.random(400) < confidence) for _ in range(2000)]
    assert value(rows(samples, None, resamples=50), "ece_if_calibrated") == pytest.approx(np.mean(drawn), rel=0.03)


def test_a_share_of_none_or_all_gets_wilsons_interval_and_no_replicates(cell, value):
    found = rows(cell(n=100), cell(n=100), resamples=50)
    most = wilson(0.0, 0.0, 100)[1]
    for measure, low, high in (("agreement", 1 - most, 1.0), ("flips_right_to_wrong", 0.0, most)):
        assert [value(found, measure, end) for end in ("low", "high")] == pytest.approx([low, high])
        assert value(found, measure, "replicates") is None


def test_the_interval_of_a_share_is_wilsons_with_the_variance_of_its_resamples(cell, value):
    samples = cell(n=300, noise=1.0).with_columns(label=pl.lit(0, pl.Int32), prediction=pl.col("prediction") % 2)
    found = rows(samples, None, resamples=4000)  # one class, so one stratum: the plain interval of k of n
    n, right = 300, int((samples["prediction"] == 0).sum())
    expected = wilson(right / n, right / n * (1 - right / n) / (n - 1), n)
    assert [value(found, "accuracy", end) for end in ("low", "high")] == pytest.approx(expected, abs=2e-3)


def test_no_flip_among_n_answers_leaves_room_for_two_in_n_either_way(cell, value):
    found = rows(cell(n=100, noise=1.0), cell(n=100, noise=1.0), resamples=2000)
    most = np.log(20) / 2**0.5 / 100  # a difference of two exponential variates, of variance 1: 97.5 % are below
    assert [value(found, "accuracy_change", end) for end in ("low", "high", "p")] == pytest.approx(
        [-most, most, 1.0], rel=0.01
    )
    right = (cell(n=100, noise=1.0)["prediction"] == cell(n=100, noise=1.0)["label"]).to_numpy()
    nll = cell(n=100, noise=1.0)["nll"].to_numpy().astype(float)
    size = np.sqrt(np.mean((nll[~right] - nll[right].mean()) ** 2))  # what an answer adds that turns wrong
    assert value(found, "nll_change", "high") == pytest.approx(size * most, rel=0.01)


def test_replicates_of_a_change_are_differences_on_the_same_images_and_answers_that_flip_unseen(cell, value):
    variant, fp32 = cell(noise=1.5), cell()
    both, alone, base = rows(variant, fp32, resamples=50), rows(variant, None), rows(fp32, None)
    beside = unseen(keys(variant), fp32["prediction"].to_numpy())
    for measure in ("accuracy", "nll", "brier", "aurc", "squared_ce"):
        a, b, change = (
            np.array(value(found, name, "replicates"))
            for found, name in ((alone, measure), (base, measure), (both, f"{measure}_change"))
        )
        size = np.dot(change - (a - b), beside) / np.dot(beside, beside)
        assert change == pytest.approx(a - b + size * beside, abs=2e-5)
        assert 0 < size < 10 / 80
        if measure == "accuracy":
            assert size == pytest.approx(1 / 80, rel=1e-3)


def test_replicates_spread_as_wide_as_the_interval(cell, value):
    found = rows(cell(n=600, noise=1.5), cell(n=600), resamples=4000)
    for measure in ("accuracy", "nll", "brier_change", "accuracy_change", "aurc_change", "squared_ce_change"):
        half = (value(found, measure, "high") - value(found, measure, "low")) / 2
        assert 1.96 * np.std(np.asarray(value(found, measure, "replicates"))) == pytest.approx(half, rel=0.2)


def test_all_correct_has_an_accuracy_interval_below_one(cell, value):
    perfect = cell(noise=0.01)
    found = rows(perfect, perfect, resamples=100)
    assert value(found, "accuracy") == 1
    assert 0.9 < value(found, "accuracy", "low") < 1
    assert value(found, "accuracy_change", "p") == 1
    assert value(found, "misclassification_auroc") is None


def test_one_image_and_one_class_are_defined(cell, value):
    one = cell(n=1)
    found = rows(one, one, resamples=50)
    assert value(found, "accuracy") in (0.0, 1.0)
    assert value(found, "nll", "low") == pytest.approx(one["nll"].item())
    single = cell(n=30).with_columns(label=pl.lit(2, pl.Int32))
    assert value(rows(single, None, resamples=50), "balanced_accuracy") == pytest.approx(
        (single["prediction"] == 2).mean()
    )


def test_the_divergence_from_fp32_is_in_the_rows_where_records_hold_it(value, features, noise):
    def with_classes(noise):
        known = features(noise=noise)
        return (
            samples_of(known, {})
            .with_columns(class_columns(known))
            .with_columns(**{k: pl.lit(v) for k, v in CELL.items()})
        )

    a, b = features(noise=0.5), features(noise=0.6)
    p, q = (softmax(f.logits.astype(float), axis=1) for f in (a, b))
    found = rows(with_classes(0.6), with_classes(0.5), resamples=300)
    assert value(found, "kl_to_fp32") == pytest.approx((p * np.log(p / q)).sum(axis=1).mean(), rel=1e-4)
    assert value(found, "kl_to_fp32", "low") < value(found, "kl_to_fp32") < value(found, "kl_to_fp32", "high")
    assert "kl_to_fp32" not in rows(with_classes(0.5), None, resamples=50)["measure"].to_list()


def two_cells():
    """One measure of two cells and a third, variant and FP32, with three replicates each."""
    value = np.array([[0.5, 0.7], [0.1, 0.9], [0.3, 0.5]])[..., None]
    boot = (value[..., None] + np.array([-0.1, 0.0, 0.2])).astype(np.float32)
    flip, beside = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, -1.0, 0.0], np.float32)
    return Replicated(
        ("accuracy",), value, boot, boot + np.float32(1), 10, {"ece": value[..., 0]}, flip, (beside, beside)
    )


def test_a_function_goes_to_values_and_replicates_alike():
    variant = Sampled(np.array(0.5), np.array([0.4, 0.6]), np.array([0.7]))
    fp32 = Sampled(np.array(0.2), np.array([0.1, 0.2]), np.array([0.1]))
    change = applied(np.subtract, variant, fp32)
    assert change.value == pytest.approx(0.3)
    assert change.boot.tolist() == pytest.approx([0.3, 0.4])
    assert change.kept.tolist() == pytest.approx([0.6])


def test_the_average_of_cells_averages_values_and_each_replicate():
    mean = two_cells().averaged(np.array([True, False, True]))
    assert mean.of("accuracy", VARIANT).value == pytest.approx(0.4)
    assert mean.of("accuracy", FP32).value == pytest.approx(0.6)
    assert mean.of("accuracy", FP32).boot.tolist() == pytest.approx([0.5, 0.6, 0.8])
    assert mean.of("accuracy", FP32).kept.tolist() == pytest.approx([1.5, 1.6, 1.8])
    assert mean.flip.tolist() == pytest.approx((two_cells().flip[[0, 2]].mean(axis=0) / 2**0.5).tolist())
    assert mean.plug_in["ece"].tolist() == pytest.approx([0.4, 0.6])
    assert (mean.n, mean.paired) == (10, True)  # the cells hold the same ten images


def test_a_single_cell_is_that_cell_of_all():
    cell = two_cells().cell(1)
    assert cell.of("accuracy", FP32).value == 0.9
    assert cell.plug_in["ece"].tolist() == [0.1, 0.9]
    assert cell.moved("accuracy").boot - cell.of("accuracy", VARIANT).boot == pytest.approx([0.2, -0.2, 0.0])
    assert cell.of("accuracy", VARIANT).boot.tolist() == two_cells().of("accuracy", VARIANT).boot[1].tolist()


def test_a_row_has_the_percentile_interval_and_its_replicates_unless_none_are_kept():
    found = described("nll", Sampled(np.array(50.0), np.arange(101.0), np.array([1.0, 2.0])), 7, tested=False)
    assert (found["low"], found["high"]) == pytest.approx((2.5, 97.5))
    assert (found["measure"], found["value"], found["p"], found["n"]) == ("nll", 50.0, None, 7)
    assert found["replicates"].tolist() == [1, 2]
    assert (
        described("nll", Sampled(np.array(50.0), np.arange(101.0), np.array([1.0])), 7, tested=False, keep=False)[
            "replicates"
        ]
        is None
    )
