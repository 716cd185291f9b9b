import pytest
import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.quantization.observers import ChannelRange, Percentile, Range, Sample, observed, require_finite
from reliquant.quantization.ranges import mse_bounds

SYMMETRIC, OTHER = Grid(bits=8), Grid(bits=8, symmetric=False)


def test_ranges_are_moving_averages_over_batches_by_hand():
    seen = Range(0.1)
    assert seen.bounds(SYMMETRIC) is None
    for batch in ([-1.0, 3.0], [-5.0, 1.0], [0.0, 2.0]):
        seen.update(torch.tensor(batch))
    low, high = seen.bounds(OTHER)
    assert low.item() == pytest.approx(0.9 * (0.9 * -1 + 0.1 * -5))
    assert high.item() == pytest.approx(0.9 * (0.9 * 3 + 0.1 * 1) + 0.1 * 2)
    largest = 0.9 * (0.9 * 3 + 0.1 * 5) + 0.1 * 2
    assert [edge.item() for edge in seen.bounds(SYMMETRIC)] == pytest.approx([-largest, largest])


def batches(count, width=6):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 5, width, generator=generator) * (1 + i % 7) for i in range(count)]


@pytest.mark.parametrize("grid", [SYMMETRIC, OTHER])
def test_channels_give_the_range_of_the_tensor_too(grid):
    whole, channels = Range(0.3), ChannelRange(0.3)
    for x in batches(70):  # more than one block holds
        whole.update(x)
        channels.update(x)
    for a, b in zip(whole.bounds(grid), channels.bounds(grid), strict=True):
        torch.testing.assert_close(a, b)


def test_each_channel_has_its_own_average_and_maximum():
    seen = ChannelRange(0.3)
    given = batches(3)
    for x in given:
        seen.update(x)
    low = given[0].amin((0, 1))
    for x in given[1:]:
        low = 0.7 * low + 0.3 * x.amin((0, 1))
    torch.testing.assert_close(seen.channels()[0], low)
    assert torch.equal(seen.absmax, torch.stack(given).abs().amax((0, 1, 2)))


def test_what_was_seen_can_be_shifted_and_divided_afterwards():
    factor, shift = torch.rand(6, generator=torch.Generator().manual_seed(1)) + 0.5, torch.arange(6.0)
    later, before = ChannelRange(0.3), ChannelRange(0.3)
    for x in batches(40):
        later.update(x)
        before.update((x + shift) / factor)
    later.rescale(factor, shift)
    torch.testing.assert_close(later.seen, before.seen)


def test_channels_that_saw_nothing_say_so():
    assert ChannelRange(0.1).bounds(SYMMETRIC) is None
    assert Sample(4, 2, 0.5).bounds(SYMMETRIC) is None
    assert Percentile(90, 0.1, SYMMETRIC).bounds(SYMMETRIC) is None
    with pytest.raises(ValueError, match="saw no input"):
        _ = ChannelRange(0.1).absmax


def observers():
    return [Range(0.1), ChannelRange(0.1), Sample(4, 2, 0.5), Percentile(90, 0.1, SYMMETRIC)]


@pytest.mark.parametrize("seen", observers(), ids=lambda seen: type(seen).__name__)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_an_input_that_is_not_finite_is_named_with_its_layer(seen, bad):
    model = nn.ModuleDict({"layer": nn.ModuleDict({"input": nn.Identity()})})
    x = torch.ones(2, 3)
    x[1, 1] = bad
    told = "calibration: the input of layer holds NaN or infinite values"
    with pytest.raises(ValueError, match=told), observed(model, {"layer.input": seen}):
        model["layer"]["input"](x)
    assert not model["layer"]["input"]._forward_pre_hooks
    with pytest.raises(ValueError, match="NaN or infinite"):
        require_finite(x)


def test_observers_see_inputs_only_within_the_block():
    layer, seen = nn.Sequential(nn.Identity()), Range(0.1)
    with observed(layer, {"0": seen}):
        layer(torch.tensor([1.0]))
    layer(torch.tensor([5.0]))
    assert seen.high.item() == 1.0


def test_an_outlier_among_many_is_left_out_and_batches_are_averaged():
    seen = Percentile(90, 0.1, Grid(bits=8))
    for top in (1.0, 2.0):
        seen.update(torch.cat([torch.linspace(0, top, 100), torch.tensor([1e6])]).reshape(1, -1))
    assert seen.bounds(Grid(bits=8))[1].item() == pytest.approx(0.9 * 0.909 + 0.1 * 1.818, abs=1e-3)


def test_a_sample_holds_extremes_and_finds_the_range_of_the_whole():
    x = torch.randn(200, 300, generator=torch.Generator().manual_seed(0))
    sample = Sample(8192, 50, 0.2)
    sample.update(x)
    grid = Grid(bits=4)
    whole = mse_bounds(x.reshape(1, -1), grid, 50, 0.2)[1].item()
    assert sample.block[0].max() == x.max()
    assert sample.bounds(grid)[1].item() == pytest.approx(whole, rel=0.05)


def test_a_sample_of_many_batches_holds_values_of_each():
    sample = Sample(50, 50, 0.2)
    for batch in range(20):
        sample.update(torch.full((3, 10), float(batch)))
    assert torch.equal(sample.block[: sample.filled], torch.arange(20.0)[:, None].expand(20, 52))
