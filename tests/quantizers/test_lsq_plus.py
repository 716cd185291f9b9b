import pytest
import torch

from reliquant.grid import Grid
from reliquant.quantizers.lsq_plus import LearnedOffset, Samples, _least_error, _three_sigma, quantizer
from reliquant.resume import Checkpoints
from reliquant.surgery import targets, twins, unpack_attention
from reliquant.twins import StaticInput


def test_weights_start_at_three_sigma_of_the_row():
    weight = torch.tensor([[0.0, 2.0, 4.0, 6.0], [-1.0, 1.0, -1.0, 1.0]])
    scale = _three_sigma(weight, Grid(bits=4, granularity="channel")).scale.detach()
    torch.testing.assert_close(scale, torch.tensor([[(3 + 3 * 5**0.5) / 8], [3 / 8]]))


def test_the_start_has_less_error_than_the_whole_range():
    generator = torch.Generator().manual_seed(0)
    samples = torch.cat([torch.randn(2000, generator=generator).abs(), torch.tensor([30.0])])  # one outlier
    grid = Grid(bits=4, symmetric=False)
    scale, offset = _least_error(samples, grid)

    def error(scale, offset):
        codes = torch.round((samples - offset) / scale).clamp(grid.low, grid.high)
        return (codes * scale + offset - samples).square().mean()

    whole = samples.max() / 15
    assert error(scale, offset) < 0.7 * error(whole, 8 * whole)
    # and the best of the same search written as a plain loop over ends
    low, high = samples.min(), samples.max()
    ends = [(low * (1 - i / 10), high * (1 - j / 10)) for i in range(10) for j in range(10)]
    best = min(error((b - a) / 15, a + 8 * (b - a) / 15) for a, b in ends)
    assert error(scale, offset).item() == pytest.approx(best.item(), rel=1e-5)


def test_offset_and_scale_freeze_to_a_zero_point_that_is_no_whole_number():
    x = torch.randn(500, generator=torch.Generator().manual_seed(0)) + 0.3
    rule = LearnedOffset(StaticInput(Grid(bits=4, symmetric=False), 0.1), x)
    frozen = rule.freeze()
    assert frozen.zero % 1
    torch.testing.assert_close(rule(x), frozen(x), rtol=1e-5, atol=1e-5)


def test_samples_are_few_and_hold_the_extremes():
    samples = Samples(100)
    samples.update(torch.arange(100_000.0).reshape(10, -1))
    assert len(samples.values) == 102
    assert samples.values.max() == 99_999


def test_offsets_are_learned(vit, proxy):
    unpack_attention(vit.model)
    grids = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=8)}
    words = {"iterations": 3, "batch": 16, "scale_lr": 1e-2}
    quantizer(vit, targets(vit.model, "image"), proxy, Checkpoints(), **grids, **words)
    assert all(layer.input.zero % 1 and not layer.activation_grid.symmetric for layer in twins(vit.model).values())


def test_an_asymmetric_weight_grid_is_refused(vit, proxy):
    grids = {"weight": Grid(bits=4, symmetric=False), "activation": Grid(bits=8)}
    unpack_attention(vit.model)
    with pytest.raises(ValueError, match="learned scales of weights need a symmetric grid"):
        quantizer(vit, targets(vit.model, "image"), proxy, Checkpoints(), **grids, batch=16)
