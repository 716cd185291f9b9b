import numpy as np
import pytest
import torch

from reliquant.layers.hadamard import PALEY, hadamard, orthogonal_factors


@pytest.mark.parametrize("order", [1, 2, 8, 64, *PALEY])
def test_hadamard_matrices_are_signs_with_orthogonal_rows(order):
    matrix = hadamard(order)
    assert set(np.unique(matrix)) <= {-1, 1}
    assert (matrix @ matrix.T == order * np.eye(order)).all()


def test_an_order_without_a_construction_is_refused():
    with pytest.raises(ValueError, match="order 52"):
        hadamard(52)


@pytest.mark.parametrize("width", [1, 2, 48, 64, 192, 640, 768, 1024, 1152, 3072])
def test_factors_multiply_to_a_hadamard_matrix(width):
    whole = torch.ones(1, 1)
    for factor in orthogonal_factors(width):
        whole = torch.kron(whole, factor)
    assert whole.shape == (width, width)
    torch.testing.assert_close(whole.abs(), torch.full_like(whole, width**-0.5))
    torch.testing.assert_close(whole @ whole.T, torch.eye(width), atol=1e-5, rtol=0)
