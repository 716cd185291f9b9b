import numpy as np

from reliquant.measures.row import row


def test_numbers_that_are_not_finite_are_none_and_so_is_half_an_interval():
    assert row("x", np.nan, -np.inf, 1.0, np.inf, 2) == {
        "measure": "x",
        "value": None,
        "low": None,
        "high": None,
        "p": None,
        "n": 2,
        "replicates": None,
    }


def test_replicates_are_kept_unless_many_are_not_finite_or_there_is_no_interval():
    some, most = np.append(np.ones(199), np.nan), np.append(np.ones(100), [np.nan] * 100)
    assert row("x", 1.0, 0.0, 2.0, 1.0, 2, some)["replicates"].dtype == np.float32
    assert row("x", 1.0, 0.0, 2.0, 1.0, 2, most)["replicates"] is None
    assert row("x", 1.0, np.nan, 2.0, 1.0, 2, some)["replicates"] is None
