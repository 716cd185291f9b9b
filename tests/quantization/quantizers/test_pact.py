import copy

import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.twins import StaticInput
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantizers.pact import LearnedClip, quantizer


def test_gradients_by_hand():
    # 3 bits: codes -4..3, scale 0.5, so alpha = 1.5 and the other end is -2
    rule = LearnedClip(StaticInput(Grid(bits=3), 0.5), l2=0.0)
    assert rule.alpha.item() == 1.5
    x = torch.tensor([-5.0, -0.7, 0.6, 4.0], requires_grad=True)
    out = rule(x)
    assert out.tolist() == [-2.0, -0.5, 0.5, 1.5]
    out.backward(torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    assert x.grad.tolist() == [0, 10, 100, 0]
    assert rule.alpha.log_ratio.grad.item() == pytest.approx(1.5 * (1000 - 4 / 3))  # alpha times that of alpha


def test_the_level_gradient_is_the_slope_of_the_clipped_part():
    rule = LearnedClip(StaticInput(Grid(bits=4), 0.25), l2=0.0).double()
    x = torch.tensor([9.0, -9.0, 9.0], dtype=torch.float64)
    rule(x).sum().backward()
    slope = rule.alpha.log_ratio.grad.item() / rule.alpha.item()
    eps = 0.1
    with torch.no_grad():
        sums = []
        for sign in (1, -1):
            moved = copy.deepcopy(rule)
            moved.alpha.start += sign * eps
            sums.append(moved(x).double().sum().item())
    assert slope == pytest.approx((sums[0] - sums[1]) / (2 * eps), rel=1e-5)


def test_the_penalty_makes_ranges_shrink(vit, proxy):
    scales = []
    for l2 in (0.0, 1.0):
        clip = copy.deepcopy(vit)
        unpack_attention(clip.model)
        words = {"iterations": 5, "batch": 16, "warmup": 0.0, "alpha_l2": l2}
        grids = {"weight": Grid(bits=8), "activation": Grid(bits=8)}
        quantizer(clip, targets(clip, "image"), proxy, Checkpoints(), **grids, **words)
        scales.append([layer.input.scale for layer in twins(clip.model).values()])
    assert all(small < large for large, small in zip(*scales, strict=True))


def test_the_penalty_is_the_square_of_the_level():
    assert LearnedClip(StaticInput(Grid(bits=3), 0.5), l2=0.1).penalty().item() == pytest.approx(0.225)


def test_an_asymmetric_grid_is_refused(vit, proxy):
    with pytest.raises(ValueError, match="pact learns a symmetric range"):
        quantizer(vit, [], proxy, Checkpoints(), weight=Grid(bits=8), activation=Grid(bits=8, symmetric=False))
