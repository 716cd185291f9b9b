import copy
from functools import partial

import pytest
import torch

from reliquant.grid import Grid
from reliquant.layers.surgery import targets, twins, unpack_attention
from reliquant.layers.twins import DynamicInput, StaticInput
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.learn import freeze, install, learn, learn_lsq, require_static, require_symmetric
from reliquant.quantization.observers import Range
from reliquant.quantization.quantizers.rtn import quantizer as rtn
from reliquant.quantization.rules import AbsMaxWeight, LearnedInput, LearnedWeight

WEIGHT = Grid(bits=4, granularity="channel")


def test_without_iterations_lsq_is_round_to_nearest_on_all_pairs(vit, proxy):
    unpack_attention(vit.model)
    names, other = targets(vit, "image"), copy.deepcopy(vit)
    words, grids = {"iterations": 0, "batch": 16}, {"weight": WEIGHT, "activation": Grid(bits=8)}
    learn_lsq("mine", vit, names, proxy, Checkpoints(), words, **grids, momentum=0.3)
    rtn(other, names, proxy, Checkpoints(), **grids, momentum=0.3, batch=16)
    for a, b in zip(twins(vit.model).values(), twins(other.model).values(), strict=True):
        assert torch.equal(a.codes, b.codes)
        assert a.input.scale == pytest.approx(b.input.scale, rel=1e-6)


def test_words_that_are_not_given_take_their_defaults(vit, proxy):
    unpack_attention(vit.model)
    names = targets(vit, "image")
    rules = (LearnedInput, AbsMaxWeight)
    given = {"weight": WEIGHT, "activation": Grid(bits=8), "watch": partial(Range, 0.1)}
    with pytest.raises(ValueError, match="batch 64 is larger than the 40 pairs"):
        learn(copy.deepcopy(vit), names, proxy, Checkpoints(), {}, *rules, **given)
    with pytest.raises(ValueError, match="snapshots: 201 is not within the 200 iterations"):
        learn(vit, names, proxy, Checkpoints(), {"snapshots": [201]}, *rules, **given)
    with pytest.raises(TypeError, match="learning_rate"):
        learn(vit, names, proxy, Checkpoints(), {"learning_rate": 1.0}, *rules, **given)
    assert not twins(vit.model)  # refused before the model was touched


def test_a_change_sees_the_new_twins_before_calibration(vit, proxy):
    def shrink(made):
        assert all(isinstance(layer.input, torch.nn.Identity) for layer in made.values())
        for layer in made.values():
            layer.weight.data.div_(8)

    unpack_attention(vit.model)
    names, plain = targets(vit, "image")[:1], copy.deepcopy(vit)
    words, grids = {"iterations": 0, "batch": 16}, {"weight": WEIGHT, "activation": Grid(bits=8), "momentum": 0.1}
    learn_lsq("mine", vit, names, proxy, Checkpoints(), words, **grids, change=shrink)
    learn_lsq("mine", plain, names, proxy, Checkpoints(), words, **grids)
    changed, same = (twins(clip.model)[names[0]].weight_scale for clip in (vit, plain))
    torch.testing.assert_close(changed * 8, same)


def test_rules_go_where_there_is_something_to_learn_and_freezing_removes_them(vit):
    from reliquant.layers.surgery import insert_twins

    unpack_attention(vit.model)
    learned, dynamic, floating = targets(vit, "image")[:3]
    made = insert_twins(vit.model, [learned, dynamic], WEIGHT, Grid(bits=8))
    made |= insert_twins(vit.model, [floating], Grid(bits=16), Grid(bits=16))
    made[learned].input = StaticInput(Grid(bits=8), 0.25)
    made[dynamic].input = DynamicInput(Grid(bits=8, dynamic=True))
    scale = torch.full((len(made[learned].weight), 1), 0.5)
    install(made, LearnedInput, lambda weight, grid: LearnedWeight(scale[: len(weight)], grid))
    assert isinstance(made[learned].input, LearnedInput)
    assert isinstance(made[dynamic].input, DynamicInput)
    assert made[floating].weight_rule is None
    made[learned].input.scale.start.fill_(0.75)
    made[learned].weight_rule.scale.start.fill_(0.125)
    freeze(made)
    assert made[learned].input.scale == 0.75
    assert (made[learned].weight_scale == 0.125).all()
    assert all(layer.weight_rule is None for layer in made.values())
    assert made[floating].codes is None
    assert made[dynamic].codes is not None


@pytest.mark.parametrize("words", [{"dynamic": True}, {"granularity": "token", "dynamic": True}])
def test_grids_without_one_static_range_are_refused_in_the_name_of_the_method(words):
    for require in (require_static, require_symmetric):
        with pytest.raises(ValueError, match="mine learns one range per tensor"):
            require("mine", Grid(bits=8, **words))
    require_static("mine", Grid(bits=8, symmetric=False))
    require_symmetric("mine", Grid(bits=8))
    with pytest.raises(ValueError, match="mine learns a symmetric range"):
        require_symmetric("mine", Grid(bits=8, symmetric=False))


@pytest.mark.parametrize(("part", "count"), [("weights", 2), ("inputs", 1)])
def test_what_has_fallen_is_named(vit, part, count):
    from reliquant.layers.surgery import insert_twins

    unpack_attention(vit.model)
    name = targets(vit, "image")[0]
    made = insert_twins(vit.model, [name], WEIGHT, Grid(bits=8))
    made[name].input = StaticInput(Grid(bits=8), 0.25)
    rows = len(made[name].weight)
    install(made, LearnedInput, lambda weight, grid: LearnedWeight(torch.ones(rows, 1), grid))
    rule = made[name].weight_rule if part == "weights" else made[name].input
    rule.scale.log_ratio.data.view(-1)[:count] = -25.0
    total = rows if part == "weights" else 1
    with pytest.raises(ValueError, match=rf"{name}: {count} of {total} learned scales of its {part} have fallen"):
        freeze(made)
