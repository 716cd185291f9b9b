import numpy as np
import polars as pl
import pytest

from reliquant.evaluation.records import class_columns
from reliquant.measures import conformal, detection, resampling, shift
from reliquant.measures.rows import rows
from reliquant.measures.stats import wilson


def test_noise_has_rows_for_every_cell_and_means_over_corruptions(value, noise):
    found = rows(noise(1.2), noise(0.8), resamples=400)
    each = found.filter(pl.col("corruption") != "mean", measure="accuracy")
    assert each.select("corruption", "severity").rows() == [("fog", 1), ("fog", 2), ("snow", 1), ("snow", 2)]
    overall = found.filter(corruption="mean", measure="accuracy")
    assert overall["severity"].to_list() == [0, 1, 2]
    assert overall["value"][0] == pytest.approx(each["value"].mean())
    assert overall["value"][1] == pytest.approx(each.filter(severity=1)["value"].mean())
    assert found.filter(corruption="mean", measure="accuracy")["n"].to_list() == [60, 60, 60]
    fp32 = rows(noise(0.8), None, resamples=50)
    a_q, a_f = (x.filter(corruption="mean", severity=0, measure="accuracy")["value"].item() for x in (found, fp32))
    delta = value(found, "accuracy_delta", corruption="mean", severity=0)
    assert delta == pytest.approx((a_f - a_q) / a_f)
    errors = [
        1 - x.filter(pl.col("corruption") != "mean", measure="accuracy")["value"].to_numpy().reshape(2, 2)
        for x in (found, fp32)
    ]
    assert value(found, "mce_to_fp32") == pytest.approx((errors[0].sum(1) / errors[1].sum(1)).mean())


def test_the_mean_over_corruptions_resamples_images_not_cells(cell, value):
    # the same records under two corruptions say no more than one: the interval must not shrink
    one = cell(seed=3, noise=1.0, where={"suite": "noise", "corruption": "fog", "severity": 1})
    found = rows(pl.concat([one, one.with_columns(corruption=pl.lit("snow"))]), None, resamples=3000)
    width = {
        c: value(found, "accuracy", "high", corruption=c, severity=s)
        - value(found, "accuracy", "low", corruption=c, severity=s)
        for c, s in (("fog", 1), ("mean", 0))
    }
    assert width["mean"] == pytest.approx(width["fog"], rel=1e-3)


def test_noise_cells_of_different_images_are_refused(noise):
    with pytest.raises(ValueError, match="noise suite, d: the images of fog severity 2 are not those of fog"):
        rows(noise(1.0).with_columns(index=pl.int_range(240, dtype=pl.Int32)).filter(pl.len() > 0), None, resamples=10)


def test_corruption_errors_are_absolute_relative_and_of_what_corruption_adds(cell, value, noise):
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


def test_a_noise_suite_of_75_cells_takes_seconds(cell, at_most):
    cells = [
        cell(seed=s, noise=0.6, n=100, where={"suite": "noise", "corruption": str(c), "severity": s})
        for c in range(15)
        for s in range(1, 6)
    ]
    frame = pl.concat(cells)
    with at_most(6):
        rows(frame, frame, resamples=2000)


def test_spurious_groups_give_rsg_and_added_vulnerability_that_keep_the_identity(cell, value):
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


def test_ood_rows_hold_all_detection_measures_of_every_score_against_the_reference(value, detection_samples):
    q, f = detection_samples(1.0), detection_samples(0.5)
    found = rows(q, f, resamples=20).filter(suite="ood")
    assert set(found["measure"]) == {x for m in detection.MEASURES for x in (m, f"{m}_change")}
    assert found.select("dataset", "reference", "group", "score").unique().rows() == [("o", "d", "near", "cosine")]
    parts = [[x.filter(suite=s)["score:cosine"].to_numpy() for s in ("clean", "ood")] for x in (q, f)]
    estimates = [detection.auroc(*p) for p in parts]
    assert value(found, "auroc") == estimates[0].value
    row = found.filter(measure="auroc_change").select("value", "low", "high", "p").row(0)
    assert row == pytest.approx(estimates[0].minus(estimates[1]))


def test_the_worst_group_may_be_neither_common_nor_counter_and_has_the_interval_of_the_least(cell, value):
    def groups(*noises):
        parts = [
            cell(seed=i, noise=x, n=60, where={"suite": "spurious", "group": g})
            for i, (g, x) in enumerate(zip(("common", "counter", "other"), noises, strict=True))
        ]
        return pl.concat([part.with_columns(index=pl.col("index") + 60 * i) for i, part in enumerate(parts)])

    found = rows(groups(0.4, 0.6, 2.5), groups(0.4, 0.6, 0.9), resamples=500)
    accuracy = {g: value(found, "accuracy", group=g) for g in ("common", "counter", "other")}
    assert min(accuracy, key=accuracy.get) == "other"
    assert value(found, "worst_group_accuracy") == accuracy["other"]
    for end in ("low", "high"):  # the other groups are far away: every replicate of the least is that of `other`
        assert value(found, "worst_group_accuracy", end) == value(found, "accuracy", end, group="other")
    assert value(found, "worst_group_accuracy", "n") == 180
    before = rows(groups(0.4, 0.6, 0.9), None, resamples=50)
    change = accuracy["other"] - value(before, "worst_group_accuracy")
    assert value(found, "worst_group_accuracy_change") == pytest.approx(change)
    assert value(found, "rsg") == pytest.approx(1 - accuracy["counter"] / accuracy["common"])


def marked(group, right, label, rng):
    """Records of a spurious group: which answers are right is given."""
    n, c = len(right), rng.uniform(0.3, 0.9, len(right))
    columns = {"label": label, "prediction": np.where(right, label, (label + 1) % 10), "rank": 1 - right}
    columns |= {"confidence": c, "nll": -np.log(c), "brier": (1 - c) ** 2, "index": np.arange(n)}
    columns |= {"photograph": rng.integers(0, 2**63, n).astype(np.uint64)}
    words = {"suite": "spurious", "dataset": "w", "reference": "d", "group": group, "corruption": "", "severity": 0}
    return pl.DataFrame(columns).with_columns(**{name: pl.lit(word) for name, word in words.items()})


def two_groups(common, counter, rng):
    parts = [
        marked(name, right, np.arange(len(right)) % 10, rng)
        for name, right in (("common", common), ("counter", counter))
    ]
    return pl.concat([parts[0], parts[1].with_columns(pl.col("index") + len(common))])


def test_a_small_group_that_is_all_wrong_or_all_right_leaves_its_accuracy_open(value):
    rng = np.random.default_rng(0)
    common = np.arange(500) % 10 < 8
    found = rows(two_groups(common, np.zeros(20, bool), rng), None, resamples=500)
    most = wilson(0.0, 0.0, 20)[1]
    assert (value(found, "worst_group_accuracy", "low"), value(found, "worst_group_accuracy")) == (0, 0)
    assert value(found, "worst_group_accuracy", "high") == pytest.approx(most)
    assert (value(found, "rsg"), value(found, "rsg", "high")) == (1, 1)
    assert value(found, "rsg", "low") == pytest.approx(1 - most / 0.8, abs=0.01)
    for measure in ("worst_group_accuracy", "rsg"):
        kept = np.quantile(np.asarray(value(found, measure, "replicates")), [0.025, 0.975])
        assert kept == pytest.approx([value(found, measure, end) for end in ("low", "high")], abs=1e-3)
    found = rows(two_groups(common, np.ones(20, bool), rng), None, resamples=500)  # 0.84 is as likely as not
    assert value(found, "worst_group_accuracy", "low") < wilson(0.8, 0.8 * 0.2 / 500, 500)[1]
    assert value(found, "rsg", "high") > -0.25 + most


@pytest.mark.parametrize(("of_common", "of_counter"), [(0.8, 0.03), (0.97, 0.97), (0.8, 0.6)])
def test_intervals_of_the_worst_group_and_of_the_spurious_gap_hold_the_truth(of_common, of_counter):
    rng, held = np.random.default_rng(1), {"worst_group_accuracy": 0, "rsg": 0}
    truth = {"worst_group_accuracy": min(of_common, of_counter), "rsg": 1 - of_counter / of_common}
    for _ in range(80):
        found = rows(two_groups(rng.random(300) < of_common, rng.random(20) < of_counter, rng), None, resamples=100)
        for name, low, high in found.filter(group="").select("measure", "low", "high").rows():
            held[name] += low <= truth[name] <= high
    assert min(held.values()) >= 72, held  # of 0.03 resamples alone held it in half


def test_corruptions_without_an_error_leave_room_for_one_in_the_mean_error_too(cell, value):
    perfect = cell(noise=0.01, n=60).with_columns(suite=pl.lit("noise"))
    one = pl.concat([perfect.with_columns(corruption=pl.lit(c), severity=pl.lit(s)) for c in "ab" for s in (1, 2)])
    found = rows(one, one, resamples=200)
    assert value(found, "mean_corruption_error") == value(found, "mean_corruption_error", "low") == 0
    assert value(found, "mean_corruption_error", "high") == pytest.approx(wilson(0.0, 0.0, 60)[1])
    assert value(found, "mce_to_fp32") is None
    lost = pl.int_range(pl.len()) % 6 == 0
    worse = one.with_columns(prediction=pl.when(lost).then((pl.col("label") + 1) % 6).otherwise("prediction"))
    found = rows(one, worse, resamples=500)
    assert value(found, "mce_to_fp32") == 0
    assert value(found, "mce_to_fp32", "low") >= 0  # no errors fewer than none
    assert value(found, "mce_to_fp32", "high") > 0.05


def test_groups_of_other_names_have_a_worst_accuracy_but_no_spurious_gap(cell):
    a = cell(n=60, where={"suite": "spurious", "group": "land"})
    b = cell(n=60, where={"suite": "spurious", "group": "water"}).with_columns(index=pl.col("index") + 60)
    measures = rows(pl.concat([a, b]), None, resamples=50).filter(group="")["measure"].to_list()
    assert measures == ["worst_group_accuracy"]


def spectrum_samples(cell, noise, scores):
    shifted = {"suite": "shift", "reference": "d"}
    return pl.concat(
        [
            cell(noise=noise, scores=scores),
            cell(seed=1, noise=1.4 * noise, n=50, scores=scores, where={**shifted, "dataset": "s"}),
            cell(seed=2, noise=1.8 * noise, n=40, scores=scores, where={**shifted, "dataset": "t"}),
            cell(seed=3, noise=20.0, scores=scores, where={"suite": "ood", "dataset": "o", "group": "near"}),
        ]
    )


def test_the_full_spectrum_tells_clean_and_shifted_images_together_from_others(cell, value):
    scores = {"cosine": lambda found, train: found.cosine.max(axis=1).astype(float)}.items()
    q, f = (spectrum_samples(cell, noise, scores) for noise in (0.9, 0.5))
    found = rows(q, f, resamples=20).filter(suite="ood")
    names = ("auroc", "fpr95_id_positive", "fpr95_ood_positive")
    spectrum = found.filter(pl.col("measure").str.starts_with("full_spectrum_"))
    assert set(spectrum["measure"]) == {f"full_spectrum_{m}{end}" for m in names for end in ("", "_change")}
    known, away = (
        [x.filter(pl.col("suite").is_in(suites))["score:cosine"].to_numpy() for x in (q, f)]
        for suites in (["clean", "shift"], ["ood"])
    )
    for name in names:
        exact = [detection.MEASURES[name](a, b) for a, b in zip(known, away, strict=True)]
        assert value(found, f"full_spectrum_{name}") == pytest.approx(exact[0].value)
        row = found.filter(measure=f"full_spectrum_{name}_change").select("value", "low", "high", "p").row(0)
        assert row == pytest.approx(exact[0].minus(exact[1]))
    assert value(found, "full_spectrum_auroc", "n") == 80 + 50 + 40 + 80
    assert value(found, "full_spectrum_auroc") < value(found, "auroc")


def test_without_shifted_images_or_their_scores_there_is_no_full_spectrum(cell):
    scores = {"cosine": lambda found, train: found.cosine.max(axis=1).astype(float)}.items()
    q = spectrum_samples(cell, 0.9, scores)
    unscored = q.with_columns(pl.when(pl.col("suite") != "shift").then("score:cosine"))
    for samples in (q.filter(pl.col("suite") != "shift"), unscored):
        measures = rows(samples, None, resamples=20, suites=["ood"])["measure"].to_list()
        assert measures == list(detection.MEASURES)


def test_prediction_sets_and_templates_are_measured_where_records_hold_them(cell, features, value):
    def with_more(noise, suite, seed):
        known = features(n=400, seed=seed, noise=noise)
        where = {"suite": suite, "dataset": "d" if suite == "clean" else "s"}
        records = cell(seed=seed, noise=noise, n=400, where=where)
        right = records["prediction"] == records["label"]
        return records.with_columns(class_columns(known, top=False)).with_columns(
            pl.Series("template:a {}", right), pl.Series("template:no {}", right & (records["index"] % 3 > 0))
        )

    q, f = (pl.concat([with_more(x, "clean", 0), with_more(1.5 * x, "shift", 1)]) for x in (1.0, 0.8))
    found = rows(q, f, resamples=20)
    half = conformal.halves(resampling.keys(q.filter(suite="clean")))
    held = []
    for own in (half, ~half):
        at = conformal.threshold(f.filter(suite="clean")["nll"].to_numpy()[~own], 0.9)
        held += (q.filter(suite="clean")["nll"].to_numpy()[own] <= at).tolist()
    assert value(found, "conformal_coverage_90_fp32", suite="clean") == pytest.approx(sum(held) / 400)
    assert value(found, "conformal_size_95_own", suite="shift") > 1
    assert value(found, "template_spread", suite="clean") > 0.1
    assert "template_spread" not in found.filter(suite="shift")["measure"].to_list()
    replicated = found.filter(pl.col("replicates").is_not_null())["measure"].to_list()
    assert {"conformal_coverage_90_fp32", "conformal_coverage_90_fp32_change", "augrc"} <= set(replicated)
