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
    beside, of_levels = unseen(keys(variant), fp32["prediction"].to_numpy()), unseen(keys(variant))
    table = np.stack([beside, np.maximum(of_levels, 0), np.minimum(of_levels, 0)], axis=1)
    for measure in ("accuracy", "nll", "brier", "aurc", "squared_ce"):
        a, b, change = (
            np.array(value(found, name, "replicates"))
            for found, name in ((alone, measure), (base, measure), (both, f"{measure}_change"))
        )
        columns = 3 if measure in ("nll", "brier") else 1  # levels whose own answers may have turned unseen
        sizes = np.linalg.lstsq(table[:, :columns], change - (a - b), rcond=None)[0]
        assert change == pytest.approx(a - b + table[:, :columns] @ sizes, abs=2e-5)
        size = sizes[0]
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


def test_without_a_wrong_answer_levels_leave_room_for_three_in_n(value):
    perfect = drawn(100, 0.98, np.random.default_rng(0))
    assert (perfect["prediction"] == perfect["label"]).all()
    found = rows(perfect, None, resamples=4000)
    c, nll = (perfect[name].to_numpy().astype(float) for name in ("confidence", "nll"))
    gap, brier = c - 1, perfect["brier"].to_numpy().astype(float)
    turned = {"confidence_gap": np.ones(100), "nll": -np.log(1 - c) - nll, "brier": 2 * c**2 - brier}
    for measure, own in (("confidence_gap", gap), ("nll", nll), ("brier", brier)):
        size = np.sqrt(np.mean(turned[measure] ** 2))
        low, high = (value(found, measure, end) - own.mean() for end in ("low", "high"))
        assert high == pytest.approx(size * np.log(20) / 100, rel=0.1)
        assert -3 * own.std() / 100**0.5 < low < 0  # no answer can turn right: not one end more than the resamples'
        spread = np.quantile(np.asarray(value(found, measure, "replicates")) - own.mean(), 0.975)
        assert spread == pytest.approx(high, rel=0.35)  # of 200 replicates


def test_where_all_answers_are_wrong_one_might_be_right_unseen(cell, value):
    samples = cell(n=100, noise=0.15).with_columns(label=(pl.col("label") + 1) % 6, rank=pl.lit(1), nll=pl.lit(4.0))
    found = rows(samples, None, resamples=4000)
    c = samples["confidence"].to_numpy().astype(float)
    low, high = (value(found, "confidence_gap", end) - c.mean() for end in ("low", "high"))
    assert low == pytest.approx(-np.log(20) / 100, rel=0.1)
    assert 0 < high < 3 * c.std() / 100**0.5
    size = np.sqrt(np.mean((4 + np.log(c)) ** 2))
    assert value(found, "nll", "low") == pytest.approx(4 - size * np.log(20) / 100, rel=0.02)
    assert value(found, "nll", "high") == pytest.approx(4, abs=1e-5)


def drawn(n, least, rng):
    """Records of a calibrated model whose confidences are even from `least` on, of ten classes."""
    c, label = rng.uniform(least, 1 - 1e-4, n), np.arange(n) % 10
    right, rest = rng.random(n) < c, (1 - c) / 9
    columns = {"index": np.arange(n), "label": label, "prediction": np.where(right, label, (label + 1) % 10)}
    columns |= {"rank": 1 - right, "confidence": c, "nll": -np.log(np.where(right, c, rest))}
    columns |= {"photograph": rng.integers(0, 2**63, n).astype(np.uint64)}
    brier = np.where(right, (1 - c) ** 2 + 9 * rest**2, c**2 + (1 - rest) ** 2 + 8 * rest**2)
    return pl.DataFrame(columns | {"brier": brier}).with_columns(**{k: pl.lit(v) for k, v in CELL.items()})


@pytest.mark.parametrize(("n", "least"), [(200, 0.99), (500, 0.996)])
def test_intervals_hold_the_truth_of_a_calibrated_model_that_is_hardly_ever_wrong(n, least, value):
    rng = np.random.default_rng(n)
    many = drawn(1_000_000, least, rng)
    truth = {"confidence_gap": 0.0, "squared_ce": 0.0, "rms_ce": 0.0}
    truth |= {name: many[name].mean() for name in ("nll", "brier")}
    held = dict.fromkeys(truth, 0)
    for _ in range(60):  # a third of these samples hold no wrong answer
        found = rows(drawn(n, least, rng), None, resamples=400)
        for name in truth:
            held[name] += value(found, name, "low") <= truth[name] <= value(found, name, "high")
    assert min(held.values()) >= 54, held  # of resamples alone it is 39


def test_a_root_of_0_has_an_upper_end_above_0(cell, value):
    rng, below = np.random.default_rng(3), 0
    for _ in range(40):
        found = rows(drawn(300, 0.5, rng), None, resamples=200)
        if value(found, "squared_ce") < 0:
            below += 1
            assert value(found, "rms_ce") == value(found, "rms_ce", "low") == 0
            assert value(found, "rms_ce", "high") > max(0.03, max(value(found, "squared_ce", "high"), 0) ** 0.5)
        else:
            assert value(found, "rms_ce", "high") == pytest.approx(value(found, "squared_ce", "high") ** 0.5, rel=0.01)
    assert below > 5


def test_classes_that_are_all_right_leave_balanced_accuracy_as_open_as_their_images_do(value):
    rng = np.random.default_rng(0)
    samples = drawn(200, 0.5, rng).with_columns(label=pl.lit(0), prediction=pl.lit(0), rank=pl.lit(0))
    few = (pl.col("index") < 8).cast(pl.Int64)
    samples = samples.with_columns(label=few, prediction=few)
    found = rows(samples, None, resamples=200)
    alike = 1 / ((1 / 8 + 1 / 192) / 4)  # images that would say as much: 1 / n is the variance of a mean
    assert value(found, "balanced_accuracy", "low") == pytest.approx(wilson(1.0, 0.0, round(alike))[0])
    lost = samples.with_columns(prediction=pl.when(pl.col("index") > 190).then(1).otherwise("prediction"))
    found = rows(lost, None, resamples=2000)  # the small class shows no variance
    share = value(found, "balanced_accuracy")
    plain = wilson(share, (183 / 192) * (9 / 192) / 191 / 4, 200)[0]
    assert value(found, "balanced_accuracy", "low") < plain - 0.015


def test_one_image_and_one_class_are_defined(cell, value):
    one = cell(n=1)
    found = rows(one, one, resamples=50)
    assert value(found, "accuracy") in (0.0, 1.0)
    assert value(found, "nll") == pytest.approx(one["nll"].item())
    for name in ("nll", "nll_change", "accuracy_change"):
        assert [value(found, name, end) for end in ("low", "high", "p")] == [None] * 3, name
    assert value(found, "accuracy", "high") - value(found, "accuracy", "low") > 0.7
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
        ("accuracy",), value, boot, boot + np.float32(1), 10, {"ece": value[..., 0]}, flip, 2 * flip, (beside, beside)
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
    assert mean.turn.tolist() == pytest.approx((2 * mean.flip).tolist())
    assert mean.plug_in["ece"].tolist() == pytest.approx([0.4, 0.6])
    assert (mean.n, mean.paired) == (10, True)  # the cells hold the same ten images


def test_a_single_cell_is_that_cell_of_all():
    cell = two_cells().cell(1)
    assert cell.of("accuracy", FP32).value == 0.9
    assert cell.plug_in["ece"].tolist() == [0.1, 0.9]
    assert cell.moved("accuracy").boot - cell.of("accuracy", VARIANT).boot == pytest.approx([0.2, -0.2, 0.0])
    by = cell.level("accuracy", VARIANT).boot - cell.of("accuracy", VARIANT).boot  # 4 an answer; right are 0.1
    assert by == pytest.approx([-(2**0.5) * 0.4 * 0.1, 2**0.5 * 0.4 * 0.9, 0.0])
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
