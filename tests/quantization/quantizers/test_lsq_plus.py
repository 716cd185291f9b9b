import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.twins import StaticInput
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import embed_all
from reliquant.quantization.quantizers.lsq_plus import LearnedOffset, _three_sigma, quantizer


def test_weights_start_at_three_sigma_of_the_row():
    weight = torch.tensor([[0.0, 2.0, 4.0, 6.0], [-1.0, 1.0, -1.0, 1.0]])
    scale = _three_sigma(weight, Grid(bits=4, granularity="channel")).scale().detach()
    torch.testing.assert_close(scale, torch.tensor([[(3 + 3 * 5**0.5) / 8], [3 / 8]]))


def test_offset_and_scale_freeze_to_a_zero_point_that_is_no_whole_number():
    x = torch.randn(500, generator=torch.Generator().manual_seed(0)) + 0.3
    rule = LearnedOffset(StaticInput(Grid(bits=4, symmetric=False), 0.1, 2))
    assert rule.offset().item() == pytest.approx(-0.2)
    rule.moved.data += 0.037
    frozen = rule.freeze()
    assert frozen.zero % 1
    torch.testing.assert_close(rule(x), frozen(x), rtol=1e-5, atol=1e-5)


def test_inputs_start_where_the_squared_error_is_least(vit, proxy):
    unpack_attention(vit.model)
    name = targets(vit, "image")[2]
    seen = []
    handle = vit.model.get_submodule(name).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    embed_all(vit, proxy)
    handle.remove()
    grids = {"weight": Grid(bits=16), "activation": Grid(bits=3)}
    quantizer(vit, [name], proxy, Checkpoints(), **grids, iterations=0, batch=40)
    found = twins(vit.model)[name].input
    x = torch.cat(seen).flatten()

    def error(scale, zero):
        return ((torch.round(x / scale + zero).clamp(-4, 3) - zero) * scale - x).square().mean()

    low, high = x.aminmax()
    shares = torch.linspace(0.2, 1, 60)
    steps = [(high - low) * share / 7 for share in shares]
    best = min(error(s, -4 - torch.round(low * share / s)) for s, share in zip(steps, shares, strict=True))
    assert error(found.scale, found.zero) < 1.02 * best
    assert best < error(steps[-1], -4 - torch.round(low / steps[-1]))


def test_offsets_are_learned(vit, proxy):
    unpack_attention(vit.model)
    grids = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=8)}
    words = {"iterations": 3, "batch": 16, "scale_lr": 1e-2}
    quantizer(vit, targets(vit, "image"), proxy, Checkpoints(), **grids, **words)
    assert all(layer.input.zero % 1 and not layer.activation_grid.symmetric for layer in twins(vit.model).values())


def test_an_asymmetric_weight_grid_is_refused(vit, proxy):
    grids = {"weight": Grid(bits=4, symmetric=False), "activation": Grid(bits=8)}
    unpack_attention(vit.model)
    with pytest.raises(ValueError, match="learned scales of weights need a symmetric grid"):
        quantizer(vit, targets(vit, "image"), proxy, Checkpoints(), **grids, batch=16)
