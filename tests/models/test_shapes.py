import torch
from torch import nn

from reliquant.models.shapes import is_shape_only, shapes_only


def test_values_are_answered_and_no_place_is_found_where_there_are_only_shapes():
    x = torch.empty(3, 4, device="meta")
    with shapes_only():
        assert x.sum().item() == 1.0
        assert x.argmax().item() == 0
        assert bool((x > 0).any()) is True
        assert (x > 0).nonzero().shape == (0, 2)
        assert torch.tensor([0.0, 2.0]).nonzero().tolist() == [[1]]  # what has values keeps them
        assert torch.tensor(3.5).item() == 3.5


def test_a_model_is_known_to_have_shapes_alone():
    assert is_shape_only(nn.Linear(2, 3, device="meta"))
    assert not is_shape_only(nn.Linear(2, 3))
    assert not is_shape_only(nn.Identity())
