import pytest
import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.arithmetic import quantize
from reliquant.layers.surgery import insert_twins
from reliquant.layers.twins import ROOM, DynamicInput, QuantConv2d, QuantLinear, Scratch, SparedInput, StaticInput, twin


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("zero", [0, -2, 1])  # codes of every grid, as torch asks
@pytest.mark.parametrize("scratch", [None, Scratch()])
def test_rounding_in_place_equals_torch_own_operator_to_the_bit(bits, zero, scratch, monkeypatch):
    monkeypatch.setattr("reliquant.layers.twins.ROOM", 1000)
    x = torch.randn(300, 700, generator=torch.Generator().manual_seed(bits)) * 3
    x[0, :4] = torch.tensor([float("inf"), -float("inf"), 0.015, 0.045])  # ties round to even
    grid = Grid(bits=bits, symmetric=zero == 0)
    expected = torch.fake_quantize_per_tensor_affine(x, 0.03, zero, grid.low, grid.high)
    rounding = StaticInput(grid, 0.03, zero, scratch)
    for view in (x, x.t()):
        with torch.no_grad():
            found = rounding(view)
        assert torch.equal(found, expected if view is x else expected.t())
    small = rounding(x[:1])
    assert torch.equal(small, expected[:1])


def test_scratch_memory_is_lent_to_large_results_alone_and_never_to_training():
    scratch, grid = Scratch(), Grid(bits=8)
    rounding, x = StaticInput(grid, 0.03, 0, scratch), torch.randn(ROOM)
    with torch.no_grad():
        assert rounding(x).data_ptr() == rounding(x + 1).data_ptr()
        assert rounding(x[:9]).data_ptr() != scratch.memory.data_ptr()
    kept = rounding(x.requires_grad_())
    assert kept.data_ptr() != scratch.memory.data_ptr()
    kept.sum().backward()
    assert x.grad.max() == 1


def test_a_zero_point_between_two_codes_moves_before_rounding_by_hand():
    rounding = StaticInput(Grid(bits=2, symmetric=False), 0.5, 0.25)  # codes -2..1, levels 0.5 (code - 0.25)
    assert not rounding.has_whole_zero
    assert rounding(torch.tensor([-9.0, -0.3, 0.1, 0.2, 9.0])).tolist() == [-1.125, -0.125, -0.125, 0.375, 0.375]
    assert all(StaticInput(Grid(bits=2), 0.5, zero).has_whole_zero for zero in (0, 1, -3.0))


def test_each_token_has_the_range_of_its_own_row():
    x = torch.tensor([[[0.7, -0.14], [70.0, 14.0]]])
    rounding = DynamicInput(Grid(bits=4, granularity="token", dynamic=True))
    torch.testing.assert_close(rounding(x), torch.tensor([[[0.7, -0.1], [70.0, 10.0]]]))
    whole = DynamicInput(Grid(bits=4, dynamic=True))
    torch.testing.assert_close(whole(x), torch.tensor([[[0.0, 0.0], [70.0, 10.0]]]))


def test_a_token_of_a_convolution_is_a_position():
    x = torch.randn(2, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    grid = Grid(bits=4, granularity="token", dynamic=True)
    by_rows = DynamicInput(grid)(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert torch.equal(DynamicInput(grid, QuantConv2d.inputs)(x), by_rows)


def test_spared_columns_stay_and_do_not_widen_the_range():
    x = torch.tensor([[100.03, 0.7, -0.14]])
    rounding = SparedInput(DynamicInput(Grid(bits=4, dynamic=True)), torch.tensor([0]))
    torch.testing.assert_close(rounding(x), torch.tensor([[100.03, 0.7, -0.1]]))


def test_a_frozen_linear_computes_with_its_codes():
    layer = twin(nn.Linear(3, 2), Grid(bits=4, granularity="channel"), Grid(bits=8))
    assert isinstance(layer, QuantLinear)
    layer.bias.data.zero_()
    codes = torch.tensor([[1, -2, 3], [0, 5, -7]], dtype=torch.int8)
    layer.freeze(codes, torch.tensor([[0.5], [2.0]]), torch.tensor([[1.0], [0.0]]))
    assert layer(torch.ones(1, 3)).tolist() == [[0.5 * (2 - 3), 2.0 * -2]]
    layer.spare(torch.tensor([1]), torch.tensor([[10.0], [20.0]]))
    assert layer(torch.ones(1, 3)).tolist() == [[0.5 * 2 + 10, 2.0 * -7 + 20]]


def test_a_convolution_that_pads_by_reflection_is_refused():
    with pytest.raises(ValueError, match="padding mode 'reflect' is not supported"):
        twin(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), Grid(bits=4), Grid(bits=8))


def test_channels_of_which_rounding_leaves_nothing_are_counted_and_pruned_ones_are_not():
    layer = twin(nn.Linear(4, 3), Grid(bits=4, granularity="channel"), Grid(bits=8))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2, 3, 4], [0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0]]))
    scale = torch.tensor([[0.5], [1.0], [1e-8]])  # the second is too coarse: all its codes are 0
    codes = quantize(layer.weight.detach(), scale, torch.zeros(3, 1), layer.weight_grid)
    layer.freeze(codes, scale, torch.zeros(3, 1))
    assert layer.dead_channels == 1
    fine = twin(nn.Linear(4, 3), Grid(bits=2, granularity="channel"), Grid(bits=8))
    fine.freeze_absmax()
    assert fine.dead_channels == 0


@pytest.mark.parametrize(
    ("scale", "zero", "wrong"),
    [
        (float("nan"), 0.0, "1 scales"),
        (float("inf"), 0.0, "1 scales"),
        (1.0, -float("inf"), "1 zero points"),
        (3e38, -9.0, "2 rounded numbers"),
    ],
)
def test_a_weight_that_is_no_number_is_refused_with_layer_and_count(scale, zero, wrong):
    model = nn.Sequential(nn.Linear(2, 2))
    grid = Grid(bits=4, granularity="channel", symmetric=False)
    layer = insert_twins(model, ["0"], grid, Grid(bits=8))["0"]
    with pytest.raises(ValueError, match=f"^0: {wrong} of its weight would be infinite or NaN; keep the layer"):
        layer.freeze(torch.ones(2, 2, dtype=torch.int8), torch.tensor([[1.0], [scale]]), torch.tensor([[0.0], [zero]]))
    assert layer.codes is None
