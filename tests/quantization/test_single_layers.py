import pytest
import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.layers.surgery import insert_twins, targets, twins, unpack_attention
from reliquant.layers.twins import Held
from reliquant.quantization.single_layers import copied, swapped, tower_of

FLOATING = Grid(bits=16)


@pytest.fixture
def prepared(vit):
    unpack_attention(vit.model)
    insert_twins(vit.model, targets(vit, "both"), FLOATING, FLOATING)
    return vit


def test_a_weight_is_another_s_while_the_block_runs_and_its_own_again_after_an_error(prepared):
    one, other, *_ = twins(prepared.model).values()
    own = one.weight
    with swapped({one: other}):
        assert one.weight is other.weight
    assert one.weight is own
    with pytest.raises(ZeroDivisionError), swapped({one: other}):
        1 / 0  # noqa: B018
    assert one.weight is own
    assert "weight" in dict(one.named_parameters())


def test_a_copy_has_words_of_its_own_and_is_not_watched(prepared):
    called, (name, *_) = [], twins(prepared.model)
    for layer in twins(prepared.model).values():
        layer.before_rounding = lambda: called.append(1)
    words = ({"bits": 3}, {"bits": 16})
    made = copied(prepared, {name: words})
    layers = twins(made.model)
    insert_twins(made.model, list(layers), Grid(bits=4, granularity="channel"), FLOATING)
    for layer in layers.values():
        layer.freeze_absmax()
    assert [layer.weight_grid.bits for layer in layers.values()] == [3, *[4] * (len(layers) - 1)]
    assert not called
    assert all(layer.before_rounding and layer.own_words is None for layer in twins(prepared.model).values())
    assert all(torch.isfinite(layer.weight).all() and layer.codes is None for layer in twins(prepared.model).values())


def test_a_layer_is_in_the_tower_that_holds_it(prepared):
    assert [tower_of(prepared, name) for name in ("visual.x", "transformer.resblocks.0.mlp")] == ["image", "text"]


def test_a_copy_takes_no_memory_of_its_own_for_weights_even_when_rounded_and_leaves_the_original(prepared):
    before = {name: value.clone() for name, value in prepared.model.named_parameters()}
    made = copied(prepared, {})
    own, other = (dict(model.named_parameters()) for model in (prepared.model, made.model))
    assert all(own[name].data_ptr() == other[name].data_ptr() for name in own)
    layers = insert_twins(made.model, list(twins(made.model)), Grid(bits=2, granularity="channel"), FLOATING)
    for layer in layers.values():
        layer.freeze_absmax()
    assert all(torch.equal(value, before[name]) for name, value in prepared.model.named_parameters())
    assert all(value.requires_grad for value in prepared.model.parameters())
    assert all(layer.weight.data_ptr() == own[f"{name}.weight"].data_ptr() for name, layer in layers.items())


def test_a_rounded_copy_gives_to_the_bit_what_a_model_gives_that_is_rounded_in_place(prepared):
    grid, pixels = Grid(bits=2, granularity="channel"), torch.randn(2, 3, *prepared.model.visual.image_size)
    exact = prepared.model.encode_image(pixels)
    made, (name, layer) = copied(prepared, {}), next(iter(twins(prepared.model).items()))
    for model in (made.model, prepared.model):
        for frozen in insert_twins(model, list(twins(model)), grid, FLOATING).values():
            frozen.freeze_absmax()
    assert torch.equal(made.model.encode_image(pixels), prepared.model.encode_image(pixels))
    assert not torch.equal(made.model.encode_image(pixels), exact)
    rounded, own = layer.weight, nn.Parameter(torch.zeros_like(layer.weight))
    layer.weight = own
    with swapped({layer: twins(made.model)[name]}):
        assert torch.equal(layer.weight, rounded)
    assert layer.weight is own


def test_a_copy_of_which_a_part_is_held_beside_the_codes_keeps_its_rounded_weight(prepared):
    layer = next(iter(twins(copied(prepared, {}).model).values()))
    shared, (o, d) = layer.weight, layer.weight.shape
    held = Held(torch.ones(d), torch.zeros(1), torch.full((1, d), 3.0))
    layer.freeze(torch.zeros(o, d, dtype=torch.int8), torch.ones(1, 1), torch.zeros(1, 1), held=held)
    assert layer.weight_rule is None
    assert layer.weight is not shared
    assert layer.weight[:2, 0].tolist() == [3, 1]  # the row that is held, and the mean of the others
