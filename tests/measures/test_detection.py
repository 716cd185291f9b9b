import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from reliquant.measures import detection as d


def sets(n, m, seed, levels=None):
    rng = np.random.default_rng(seed)
    ids, oods = rng.normal(1.2, 1, n), rng.normal(0, 1, m)
    return (np.round(ids * levels) / levels, np.round(oods * levels) / levels) if levels else (ids, oods)


def fpr_by_roc(positive, negative, at=0.95):
    """OpenOOD's formula (openood/evaluators/metrics.py), without dropped points."""
    truth = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    fpr, tpr, _ = roc_curve(truth, np.r_[positive, negative], drop_intermediate=False)
    return fpr[np.argmax(tpr >= at)]


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 50), m=st.integers(1, 50), seed=st.integers(0, 999), levels=st.sampled_from([None, 1, 2, 5]))
def test_all_equal_scikit_learn_and_openood_with_and_without_ties(n, m, seed, levels):
    ids, oods = sets(n, m, seed, levels)
    truth, score = np.r_[np.ones(n), np.zeros(m)], np.r_[ids, oods]
    assert d.auroc(ids, oods).value == pytest.approx(roc_auc_score(truth, score))
    assert d.aupr_in(ids, oods).value == pytest.approx(average_precision_score(truth, score))
    assert d.aupr_out(ids, oods).value == pytest.approx(average_precision_score(1 - truth, -score))
    assert d.fpr95_id_positive(ids, oods).value == pytest.approx(fpr_by_roc(ids, oods))
    assert d.fpr95_ood_positive(ids, oods).value == pytest.approx(fpr_by_roc(-oods, -ids))
    for tpr in (0.9, 0.95, 0.99):
        assert d.fpr(ids, oods, tpr=tpr).value == pytest.approx(fpr_by_roc(ids, oods, tpr - 1e-9))
        assert d.fpr(ids, oods, tpr=tpr, positive="ood").value == pytest.approx(fpr_by_roc(-oods, -ids, tpr - 1e-9))


def test_all_at_once_are_each_alone():
    sides = sets(60, 40, 9, levels=4)
    found = d.estimates(*sides)
    assert list(found) == list(d.MEASURES)
    for name, measure in d.MEASURES.items():
        alone = measure(*sides)
        assert found[name].value == alone.value
        np.testing.assert_array_equal(found[name].id, alone.id)
        np.testing.assert_array_equal(found[name].ood, alone.ood)
    assert found["fpr90_ood_positive"].value == d.fpr(*sides, tpr=0.9, positive="ood").value
    assert list(d.estimates(*sides, only={"auroc"})) == ["auroc"]


def test_auroc_variance_is_delong_written_out():
    ids, oods = sets(40, 30, 0, levels=3)
    psi = (ids[:, None] > oods) + 0.5 * (ids[:, None] == oods)
    expected = psi.mean(axis=1).var(ddof=1) / 40 + psi.mean(axis=0).var(ddof=1) / 30
    assert d.auroc(ids, oods).variance == pytest.approx(expected)


@pytest.mark.parametrize("name", list(d.MEASURES))
def test_closed_form_spread_agrees_with_a_plain_bootstrap(name):
    ids, oods = sets(400, 300, 1)
    rng, f = np.random.default_rng(2), d.MEASURES[name]
    boot = [f(rng.choice(ids, 400), rng.choice(oods, 300)).value for _ in range(1500)]
    assert np.sqrt(f(ids, oods).variance) == pytest.approx(np.std(boot), rel=0.25 if "fpr" in name else 0.1)


@pytest.mark.parametrize("name", list(d.MEASURES))
def test_closed_form_spread_of_a_paired_difference_agrees_with_a_plain_bootstrap(name):
    ids, oods = sets(400, 300, 3)
    rng = np.random.default_rng(4)
    other_ids, other_oods = ids + rng.normal(0, 0.6, 400), oods + rng.normal(0, 0.6, 300)
    f, boot = d.MEASURES[name], []
    for _ in range(1500):
        i, j = rng.integers(0, 400, 400), rng.integers(0, 300, 300)
        boot.append(f(other_ids[i], other_oods[j]).value - f(ids[i], oods[j]).value)
    difference, low, high, p = f(other_ids, other_oods).minus(f(ids, oods))
    assert difference == pytest.approx((low + high) / 2)
    assert (high - low) / 3.92 == pytest.approx(np.std(boot), rel=0.3 if "fpr" in name else 0.12)
    assert 0 <= p <= 1


def test_about_95_of_100_intervals_hold_the_truth():
    truth = 0.8019  # Phi(1.2 / sqrt 2)
    held = sum(low <= truth <= high for low, high in (d.auroc(*sets(150, 100, s)).interval for s in range(400)))
    assert 0.92 < held / 400 < 0.98


def test_the_same_scores_differ_by_nothing_with_p_of_one():
    one = d.auroc(*sets(20, 20, 5))
    assert one.minus(one) == (0.0, 0.0, 0.0, 1.0)


def test_all_equal_scores_are_a_coin_toss():
    same = np.zeros(10), np.zeros(7)
    assert d.auroc(*same).value == 0.5
    assert d.fpr95_id_positive(*same).value == 1
    assert d.fpr95_ood_positive(*same).value == 1
    assert d.aupr_in(*same).value == pytest.approx(10 / 17)


def test_all_ood_scores_equal_are_defined():
    found = d.auroc(np.array([1.0, 2.0, 3.0]), np.full(4, 2.0))
    assert found.value == 0.5
    assert 0 <= found.interval[0] < 0.5 < found.interval[1] <= 1


def test_perfect_separation_still_has_an_interval_of_some_width():
    low, high = d.auroc(np.arange(10, 60.0), np.arange(10.0)).interval
    assert high == 1
    assert 0.6 < low < 1


def test_one_image_a_side_has_a_value_and_no_interval():
    found = d.auroc(np.array([1.0]), np.array([0.0]))
    assert found.value == 1
    assert np.isnan(found.interval).all()


def test_nan_and_empty_sides_are_named():
    with pytest.raises(ValueError, match="1 of 2 OOD scores are NaN"):
        d.auroc(np.ones(2), np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="at least one ID score"):
        d.auroc(np.ones(0), np.ones(2))


def test_a_threshold_that_rests_on_two_images_has_a_value_and_no_interval():
    rng = np.random.default_rng(0)
    found = d.estimates(rng.normal(2, 1, 200), rng.normal(0, 1, 200))
    assert 0 < found["fpr99_id_positive"].value < 1
    assert np.isnan(found["fpr99_id_positive"].interval).all()
    assert np.isfinite(found["fpr95_id_positive"].interval).all()


def pair_of(rng, gap, lost, noise, known, unknown):
    """Scores of FP32 and of a variant on the same images, of which OOD images lie `gap` and `gap` - `lost` away."""
    a, b = rng.standard_normal(known), rng.standard_normal(unknown)
    own = a + gap - lost + noise * rng.standard_normal(known), b + noise * rng.standard_normal(unknown)
    return (a + gap, b), own


@pytest.mark.parametrize(
    ("measure", "shape", "least"),
    [
        (d.auroc, (1.5, 0.3, 0.3, 1000, 8), 0.90),
        (d.auroc, (4.2, 0.2, 0.2, 1000, 200), 0.90),  # AUROC .997
        (d.fpr95_id_positive, (1.5, 0.3, 0.3, 1000, 8), 0.93),
        (d.fpr95_id_positive, (4.2, 0.2, 0.2, 1000, 200), 0.93),  # FPR .011
    ],
)
def test_changes_hold_the_truth_among_few_images_and_where_hardly_any_is_mistaken(measure, shape, least):
    fp32, own = pair_of(np.random.default_rng(0), *shape[:3], 100_000, 100_000)
    truth = measure(*own).value - measure(*fp32).value
    rng, held, still = np.random.default_rng(1), 0, 0
    for _ in range(300):
        fp32, own = pair_of(rng, *shape)
        _, low, high, _ = measure(*own).minus(measure(*fp32))
        held += low <= truth <= high
        still += high - low == 0
    assert held / 300 > least
    assert still == 0


def test_two_perfect_values_leave_open_what_so_few_images_cannot_show():
    one, other = d.auroc(np.arange(50, 100.0), np.arange(8.0)), d.auroc(np.arange(60, 110.0), np.arange(8.0))
    change, _, high, p = one.minus(other)
    assert (change, p) == (0.0, 1.0)
    assert high == pytest.approx(1 - one.interval[0])
    assert one.unseen(other) == pytest.approx(high / 1.959964, rel=1e-4)
