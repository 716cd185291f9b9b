import itertools

import numpy as np
import pytest

from reliquant.quantization.allocate import UndecidedError, allocate


def searched(losses, costs, budget):
    """Return the least sum of losses within the budget by trying every allocation."""
    rows = np.arange(len(losses))
    sums = []
    for options in itertools.product(range(losses.shape[1]), repeat=len(losses)):
        if costs[rows, list(options)].sum() <= budget:
            sums.append(losses[rows, list(options)].sum())
    return min(sums)


@pytest.mark.parametrize("seed", range(8))
def test_an_allocation_loses_as_little_as_the_best_of_all_that_there_are(seed):
    rng = np.random.default_rng(seed)
    costs, losses = rng.integers(1, 40, (5, 4)), rng.lognormal(0, 2, (5, 4))  # of any order: more may cost more
    budget = rng.integers(costs.min(1).sum(), costs.max(1).sum())
    found = allocate(losses, costs, budget)
    assert losses[np.arange(5), found].sum() == pytest.approx(searched(losses, costs, budget))
    assert costs[np.arange(5), found].sum() <= budget


@pytest.mark.parametrize("seed", range(4))
def test_a_budget_in_coarse_steps_holds_and_is_nearly_used(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(10**6, 10**7, (30, 1))
    costs, losses = sizes * np.array([2, 3, 4, 8]), rng.lognormal(0, 2, (30, 1)) * 4.0 ** -np.array([2, 3, 4, 8])
    taken = costs[np.arange(30), allocate(losses, costs, 3.5 * sizes.sum())].sum()
    assert 3.4 * sizes.sum() < taken <= 3.5 * sizes.sum()


def test_a_budget_of_the_cheapest_options_takes_them_and_one_below_is_refused():
    losses, costs = np.array([[5.0, 1.0], [5.0, 1.0]]), np.array([[7, 11], [13, 17]])
    assert allocate(losses, costs, 20) == [0, 0]
    with pytest.raises(ValueError, match="cheapest options cost 20, more than the budget of 19"):
        allocate(losses, costs, 19)


def test_options_that_are_all_alike_are_refused_and_those_of_some_layers_are_not():
    costs = np.array([[2, 4], [2, 4]])
    with pytest.raises(UndecidedError, match="no option loses more than another in any layer"):
        allocate(np.array([[1.0, 1.0], [0.0, 0.0]]), costs, 6)
    assert allocate(np.array([[0.0, 0.0], [2.0, 1.0]]), costs, 6) == [0, 1]
    assert allocate(np.zeros((2, 1)), costs[:, :1], 6) == [0, 0]  # there is no choice
