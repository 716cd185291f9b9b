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


def test_what_comes_out_twice_has_the_form_that_torch_gives_it_and_memory_of_its_own():
    x, mask = torch.empty(3, 4, device="meta"), torch.empty(3, 4, dtype=torch.bool, device="meta")
    made = {
        "turned": lambda x: x.t() * 2,
        "whole": lambda x: x.long() + 1,
        "raised": lambda x: x.long() + 1.0,
        "mask": lambda x: x.masked_fill(mask, 0.5),
        "by a number that has a value": lambda x: x * torch.tensor(2.0),
        "summed": lambda x: x.sum(1, keepdim=True),
        "kept": lambda x: x.sum(0),
        "split off": lambda x: x.aminmax(dim=1).max,
        "gone": lambda x: x[:0].sum(1),
        "convolved": lambda x: torch.conv2d(x.view(1, 1, 3, 4), x.new_empty(2, 1, 2, 2)),
        "normed": lambda x: torch.layer_norm(x, (4,)),
        "compared": lambda x: x.t().contiguous() > 0,
    }
    for make in made.values():
        expected = make(x)
        with shapes_only():
            first, again = make(x), make(x)
        for found in (first, again):
            assert (found.shape, found.stride(), found.dtype) == (expected.shape, expected.stride(), expected.dtype)
        assert first.untyped_storage()._cdata != again.untyped_storage()._cdata


def test_views_share_memory_and_what_is_changed_in_place_is_itself_also_the_second_time():
    with shapes_only():
        for _ in range(2):
            x = torch.empty(3, 4, device="meta")
            assert x.add_(1) is x
            assert x.view(4, 3).untyped_storage()._cdata == x.untyped_storage()._cdata
            assert x.t_().shape == (4, 3)
            assert x.resize_(2, 2).shape == (2, 2)


def test_forms_that_depend_on_values_are_not_taken_from_those_before():
    x = torch.empty(4, device="meta")
    with shapes_only():
        chosen = [x.repeat_interleave(torch.tensor(n), output_size=sum(n)).shape for n in ([1, 1, 1, 1], [2, 0, 3, 1])]
    assert chosen == [(4,), (6,)]
