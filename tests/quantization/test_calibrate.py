import pytest
import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins, targets, unpack_attention
from reliquant.layers.transforms import Smoothing
from reliquant.layers.twins import DynamicInput, QuantConv2d, StaticInput
from reliquant.quantization.calibrate import calibrate_inputs, feed, fix_inputs, is_static
from reliquant.quantization.observers import Range

WEIGHT = Grid(bits=8)
TEXT, IMAGE = "transformer.resblocks.0", "visual.transformer.resblocks.0"


def runs(clip, name):
    """Note how many pairs reach a module in each forward, from now on."""
    seen = []
    clip.parts  # noqa: B018  found by a forward of its own
    clip.model.get_submodule(name).register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    return seen


@pytest.mark.parametrize(("pairs", "expected"), [(None, [16, 16, 8]), (20, [16, 4]), (16, [16]), (99, [16, 16, 8])])
def test_the_first_pairs_run_through_the_named_tower_alone(vit, proxy, pairs, expected):
    image, text = runs(vit, IMAGE), runs(vit, TEXT)
    feed(vit, [f"{IMAGE}.mlp.c_fc"], proxy, batch=16, pairs=pairs)
    assert (image, text) == (expected, [])
    feed(vit, [f"{IMAGE}.mlp.c_fc", f"{TEXT}.mlp.c_fc"], proxy, batch=16, pairs=pairs)
    assert (image, text) == (2 * expected, expected)


def test_a_forward_ends_where_it_is_told_to(vit, proxy):
    first, second = runs(vit, IMAGE), runs(vit, IMAGE.replace("0", "1"))
    until = vit.model.get_submodule(IMAGE)
    feed(vit, [IMAGE], proxy, batch=16, until=until)
    assert (len(first), len(second)) == (3, 0)
    assert not until._forward_hooks
    feed(vit, [IMAGE], proxy, batch=16)
    assert (len(first), len(second)) == (6, 3)


@pytest.mark.parametrize("symmetric", [True, False])
def test_scales_are_those_of_moving_averages_over_the_inputs(vit, proxy, inputs_of, symmetric):
    unpack_attention(vit.model)
    names = targets(vit, "image")
    given = inputs_of(vit, names, proxy)
    made = insert_twins(vit.model, names, WEIGHT, Grid(bits=8, symmetric=symmetric))
    calibrate_inputs(vit, made, proxy, momentum=0.3, batch=16, pairs=32)
    for name, layer in made.items():
        first, second = given[name][:16], given[name][16:32]
        if symmetric:
            expected = (0.7 * first.abs().max() + 0.3 * second.abs().max()) / 127
        else:
            low, high = (0.7 * f(first) + 0.3 * f(second) for f in (torch.min, torch.max))
            expected = (high.clamp(min=0) - low.clamp(max=0)) / 255
            assert layer.input.zero == round(-128 - low.clamp(max=0).item() / layer.input.scale)
        assert layer.input.scale == pytest.approx(expected.item(), rel=1e-5)


def test_inputs_are_observed_after_their_transform(vit, proxy, inputs_of):
    name = f"{IMAGE}.mlp.c_fc"
    largest = inputs_of(vit, [name], proxy)[name].abs().max().item()
    made = insert_twins(vit.model, [name], WEIGHT, Grid(bits=8))
    made[name].transform = Smoothing(torch.full((48,), 4.0))
    calibrate_inputs(vit, made, proxy, momentum=0.1, batch=40)
    assert made[name].input.scale == pytest.approx(largest / 4 / 127, rel=1e-5)


def test_dynamic_and_floating_inputs_take_no_range(convnext, proxy):
    names = targets(convnext, "image")
    dynamic = Grid(bits=8, granularity="token", dynamic=True)
    made = insert_twins(convnext.model, names, WEIGHT, dynamic)
    assert not any(is_static(layer) for layer in made.values())
    fix_inputs(made, {})
    for layer in made.values():
        assert isinstance(layer.input, DynamicInput)
        assert layer.input.axis == (-3 if isinstance(layer, QuantConv2d) else -1)
    floating = insert_twins(convnext.model, names[:1], WEIGHT, Grid(bits=16))[names[0]]
    floating.input = nn.Identity()
    fix_inputs({names[0]: floating}, {})
    assert not isinstance(floating.input, StaticInput | DynamicInput)


def test_a_layer_that_saw_nothing_is_named(vit):
    name = f"{IMAGE}.mlp.c_fc"
    made = insert_twins(vit.model, [name], WEIGHT, Grid(bits=8))
    with pytest.raises(ValueError, match=f"calibration: {name} saw no input"):
        fix_inputs(made, {name: Range(0.1)})
