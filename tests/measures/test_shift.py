import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reliquant.measures import shift

share = st.floats(0.01, 1.0)


@given(share, share, share, share)
def test_change_of_rsg_follows_from_added_vulnerability(common_f, counter_f, common_q, counter_q):
    a = (common_f, counter_f, common_q, counter_q)
    delta_common = shift.accuracy_delta(common_f, common_q)
    expected = counter_f / common_f * shift.vuln_add(*a) / (1 - delta_common)
    assert shift.rsg_change(*a) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_worked_spurious_example():
    # FP32: 0.8 / 0.6; quantized: 0.7 / 0.4
    assert shift.rsg_change(0.8, 0.6, 0.7, 0.4) == pytest.approx(3 / 7 - 1 / 4)
    assert shift.vuln_add(0.8, 0.6, 0.7, 0.4) == pytest.approx(1 / 3 - 1 / 8)


def test_a_baseline_of_zero_is_nan_not_an_error():
    assert np.isnan(shift.accuracy_delta(0.0, 0.5))
    assert np.isnan(shift.ece_relative_change(np.array([0.0, 0.1]), np.array([0.1, 0.1]))).tolist() == [True, False]


def test_mean_corruption_error_is_one_for_the_reference_and_hand_worked_otherwise():
    reference = np.array([[0.2, 0.4], [0.5, 0.5]])
    assert shift.mean_corruption_error(reference, reference) == 1
    error = np.array([[0.3, 0.6], [0.5, 0.5]])
    assert shift.mean_corruption_error(error, reference) == pytest.approx((1.5 + 1.0) / 2)
    relative = shift.relative_mean_corruption_error(error, 0.1, reference, 0.1)
    assert relative == pytest.approx((0.7 / 0.4 + 0.8 / 0.8) / 2)


def test_worst_group_works_on_replicates():
    assert shift.worst_group([np.array([0.9, 0.2]), np.array([0.5, 0.8])]).tolist() == [0.5, 0.2]


def test_effective_robustness_is_zero_on_the_line_and_positive_above():
    clean = np.array([0.6, 0.7, 0.8])
    line = 1 / (1 + np.exp(-(0.8 * np.log(clean / (1 - clean)) - 0.5)))
    found = shift.effective_robustness(clean, line + np.array([0, 0.1, 0]), clean, line)
    assert found == pytest.approx([0, 0.1, 0], abs=1e-9)


def test_effective_robustness_needs_two_baselines():
    with pytest.raises(ValueError, match="at least two different"):
        shift.effective_robustness([0.5], [0.4], [0.6, 0.6], [0.5, 0.4])
