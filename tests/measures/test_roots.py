import numpy as np
import pytest
from scipy.optimize import brentq

from reliquant.measures.roots import root


@pytest.mark.parametrize("shape", [(), (7,), (3, 4)])
def test_roots_are_those_of_brents_method(shape):
    rng = np.random.default_rng(0)
    power, wanted = rng.uniform(0.3, 5, shape), rng.uniform(0.01, 3.9, shape)
    found = root(lambda x: x**power - wanted**power, np.zeros(shape), np.full(shape, 4.0))
    told = [brentq(lambda x, p=p, w=w: x**p - w**p, 0, 4) for p, w in zip(power.flat, wanted.flat, strict=True)]
    assert np.shape(found) == shape
    np.testing.assert_allclose(np.ravel(found), told, atol=1e-9)


def test_a_root_at_an_end_and_one_that_is_unknown():
    far = np.array([2.0, 2.0, np.nan])
    found = root(lambda x: x - np.array([2.0, 0.5, 1.0]), np.zeros(3), far)
    assert found[:2].tolist() == pytest.approx([2.0, 0.5])
    assert np.isnan(found[2])


def test_where_the_heights_of_both_ends_are_equal_no_number_is_divided_by_0():
    with np.errstate(all="raise"):
        assert root(lambda x: x * 0, np.zeros(1), np.ones(1)).shape == (1,)
