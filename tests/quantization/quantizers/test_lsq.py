import copy

import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantizers.lsq import _published, quantizer


def run(clip, proxy, **words):
    unpack_attention(clip.model)
    grids = {"weight": Grid(bits=4, granularity="channel"), "activation": Grid(bits=8)}
    quantizer(clip, targets(clip, "image"), proxy, Checkpoints(), **grids, iterations=3, batch=16, **words)
    return twins(clip.model)


def test_weights_start_at_the_published_step():
    weight = torch.tensor([[1.0, -3.0], [0.5, 0.5]])
    scale = _published(weight, Grid(bits=4, granularity="channel")).scale()
    torch.testing.assert_close(scale.detach(), torch.tensor([[2 * 2 / 7**0.5], [2 * 0.5 / 7**0.5]]))


def test_the_scales_of_inputs_are_learned_and_those_of_weights_when_asked(vit, proxy):
    still = run(copy.deepcopy(vit), proxy, lr=0.0, scale_lr=0.0)
    moved = run(copy.deepcopy(vit), proxy, lr=0.0, scale_lr=1e-2)
    both = run(copy.deepcopy(vit), proxy, lr=0.0, scale_lr=1e-2, weights="learned")
    for name in still:
        assert still[name].input.scale != moved[name].input.scale
        assert torch.equal(still[name].weight_scale, moved[name].weight_scale)
        assert not torch.equal(moved[name].weight_scale, both[name].weight_scale)


@pytest.mark.parametrize(
    ("words", "message"),
    [({"dynamic": True}, "lsq learns one range per tensor"), ({"symmetric": False}, "lsq learns a symmetric range")],
)
def test_grids_that_it_cannot_learn_are_refused(vit, proxy, words, message):
    with pytest.raises(ValueError, match=message):
        quantizer(vit, [], proxy, Checkpoints(), weight=Grid(bits=8), activation=Grid(bits=8, **words))
