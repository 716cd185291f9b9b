"""Which layers a scheme quantizes, and at which precision: words of `layers`."""

import copy

import pytest
import torch

from reliquant.layers.arithmetic import quantize as quantized
from reliquant.layers.arithmetic import weight_affine
from reliquant.layers.surgery import targets, twins, unpack
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantize import quantize
from reliquant.quantization.where import chosen, require_scales
from reliquant.study.config import with_grids
from reliquant.study.scheme import scheme_entry


@pytest.fixture
def clip(vit):
    return vit


def made(clip, proxy, layers, quantizer="rtn", precision="w4a8", scope="image", **words):
    entry = with_grids({"quantizer": quantizer, "layers": layers, **words}, precision)
    return quantize(clip, entry, scope, proxy, Checkpoints())[1]


def bits_of(facts):
    return {name: (words["weight"]["bits"], words["activation"]["bits"]) for name, words in facts["modules"].items()}


def test_nothing_said_means_all_layers_in_blocks(clip):
    unpack(clip)
    where = chosen(clip, "both", {})
    assert (where.names, where.other, where.kept) == (targets(clip, "both"), {}, frozenset())


def test_ends_and_patterns_stay_in_floating_point(clip, proxy):
    facts = made(clip, proxy, {"keep": ["first", "*.c_proj"]}, scope="both")
    names = list(bits_of(facts))
    assert names
    assert not any("resblocks.0." in name or name.endswith("c_proj") for name in names)
    kept = {p["module"] for p in facts["coverage"] if p["reason"] == "kept by the scheme"}
    assert kept == {name for name in targets(clip, "both") if "resblocks.0." in name or name.endswith("c_proj")}
    measures = facts["measures"]
    assert measures["quantized_block_share"] < 0.8  # but no less than is meant:
    assert measures["quantized_block_share"] >= measures["least_block_share"]


def test_layers_in_floating_point_count_in_the_stored_bits(clip, proxy):
    same = clip.with_model(copy.deepcopy(clip.model))
    whole = made(same, proxy, {})["measures"]
    part = made(clip, proxy, {"keep": ["first"], "attention": "all"})["measures"]
    assert part["quantized_block_share"] == 0.5
    assert part["stored_bits"] == pytest.approx((whole["stored_bits"] + 32) / 2)


@pytest.mark.parametrize("quantizer", ["rtn", "gptq", "awq", "hqq", "mse", "percentile", "smoothquant", "repq", "erq"])
def test_a_layer_has_the_precision_that_its_pattern_says(clip, proxy, quantizer):
    facts = made(clip, proxy, {"other": {"*.c_fc": "w8a8", "last": "w6a16"}}, quantizer)
    for name, bits in bits_of(facts).items():
        last = name.startswith("visual.transformer.resblocks.1.")
        assert bits == ((6, 16) if last else (8, 8) if name.endswith("c_fc") else (4, 8)), name


def test_formats_and_integers_stand_side_by_side(clip, proxy):
    facts = made(clip, proxy, {"other": {"*.c_fc": "nvfp4", "*.c_proj": "wmxfp4afp8"}}, precision="w8a8")
    elements = {name: words["weight"]["element"] for name, words in facts["modules"].items()}
    assert {elements[name] for name in elements if "mlp" in name} == {"e2m1"}
    assert {elements[name] for name in elements if "mlp" not in name} == {"int"}


def test_a_layer_of_another_precision_keeps_the_type_of_scales_that_the_scheme_names(clip, proxy):
    grid = {"granularity": "group", "group": 24, "scale_type": "fp32"}
    made(clip, proxy, {"other": {"last": "w8a8"}}, weight=grid)
    found = {(twin.weight_grid.bits, twin.weight_grid.scales_as) for twin in twins(clip.model).values()}
    assert found == {(4, "fp32"), (8, "fp32")}


def test_of_the_patterns_that_fit_a_layer_the_last_one_counts(clip):
    unpack(clip)
    last = {name for name in targets(clip, "image") if ".resblocks.1." in name}
    general_first = chosen(clip, "image", {"other": {"*": "w8a8", "last": "w2a8"}}).other
    assert {name for name, precision in general_first.items() if precision == "w2a8"} == last
    assert len(general_first) > len(last) > 0
    assert set(chosen(clip, "image", {"other": {"last": "w2a8", "*": "w8a8"}}).other.values()) == {"w8a8"}


def test_a_bracket_in_a_pattern_is_a_part_of_a_name(clip):
    unpack(clip)
    with pytest.raises(ValueError, match=r"keep: '\*\.c_\[fp\]\*' fits none"):
        chosen(clip, "image", {"keep": ["*.c_[fp]*"]})
    clip.model.visual.add_module("to[0]", torch.nn.Linear(2, 2))
    clip.model.visual.add_module("to0", torch.nn.Linear(2, 2))
    names = chosen(clip, "image", {"also": ["visual.to[?]"]}).names
    assert set(names) - set(targets(clip, "image")) == {"visual.to[0]"}


@pytest.mark.parametrize("method", ["rtn", "gptq", "awq", "smoothquant", "mse"])
def test_floats_of_some_layers_leave_the_zero_points_to_the_others(clip, proxy, method):
    zero = {"symmetric": False}
    words = {"quantizer": method, "weight": zero, "activation": zero, "layers": {"other": {"last": "fp8"}}}
    quantize(clip, scheme_entry(words, "w4a8"), "image", proxy, Checkpoints())
    grids = [(twin.weight_grid, twin.activation_grid) for twin in twins(clip.model).values()]
    assert {(w.element, w.symmetric, a.element, a.symmetric) for w, a in grids} == {
        ("int", False, "int", False),
        ("e4m3", True, "e4m3", True),
    }


def test_layers_outside_the_blocks_are_quantized_when_they_are_named(clip, proxy):
    assert "visual.conv1" in bits_of(made(clip, proxy, {"also": ["visual.conv1"]}))


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ({"keep": ["*.nothing"]}, "layers: keep: '.*nothing' fits none of the [0-9]+ layers there, such as visual"),
        ({"other": {"*.c_fcc": "w8a8"}}, "layers: other: .* fits none"),
        ({"also": ["visual.proj"]}, "layers: also: 'visual.proj' fits none of the 1 layers there"),
        ({"keep": ["*"]}, "keep leaves nothing to quantize"),
    ],
)
def test_a_pattern_that_fits_nothing_is_refused(clip, proxy, layers, told):
    with pytest.raises(ValueError, match=told):
        made(clip, proxy, layers)


def test_a_method_that_gives_all_layers_one_precision_says_so(clip, proxy):
    with pytest.raises(ValueError, match="raana gives all layers one precision; leave out layers: other"):
        made(clip, proxy, {"other": {"*.c_fc": "w8a8"}}, "raana")


def test_blocks_that_do_not_divide_a_width_are_refused_with_the_layer(convnext, proxy):
    with pytest.raises(ValueError, match=r"conv_dw: blocks of 32 do not divide the 49 numbers of a row of its weight"):
        made(convnext, proxy, {}, precision="mxfp4")
    assert twins(convnext.model)


def test_groups_whose_scales_fp16_does_not_hold_are_refused_with_the_layer(clip, proxy):
    clip.model.visual.transformer.resblocks[1].mlp.c_proj.weight.data[3, 5] = 1e7
    grid = {"granularity": "group", "group": 16}
    with pytest.raises(ValueError, match=r"resblocks\.1\.mlp\.c_proj: 1 scales of its weight are larger than fp16 has"):
        made(clip, proxy, {}, weight=grid)
    assert twins(clip.model)


def test_a_weight_that_moved_beyond_the_scale_of_its_tensor_is_told(clip, proxy, capsys):
    made(clip, proxy, {}, precision="wnvfp4a16")
    name, layer = next(iter(twins(clip.model).items()))
    require_scales(clip.model, "rtn")
    assert "scales" not in capsys.readouterr().err
    scale, zero = weight_affine(layer.weight * 10, layer.weight_grid)
    layer.weight = torch.nn.Parameter(layer.weight * 10)
    layer.freeze(quantized(layer.weight, scale, zero, layer.weight_grid), scale, zero)
    require_scales(clip.model, "rtn")
    assert f"{name}: {layer.cut_scales} scales of its weight are larger than e4m3 has" in capsys.readouterr().err


def test_layers_with_rounded_weights_under_a_scheme_of_inputs_are_scaled_and_clipped_by_awq(clip, proxy):
    other = {"other": {"*.c_fc": "w3a16"}}
    plain = copy.deepcopy(clip)
    made(clip, proxy, other, "awq", precision="w16a8")
    made(plain, proxy, other, "rtn", precision="w16a8")
    layers = {name: layer for name, layer in twins(clip.model).items() if name.endswith("c_fc")}
    assert all(not torch.equal(layer.codes, twins(plain.model)[name].codes) for name, layer in layers.items())
    assert all(layer.codes is None for name, layer in twins(clip.model).items() if name not in layers)


def test_layers_in_floating_point_get_no_codes_from_awq(clip, proxy):
    made(clip, proxy, {"other": {"*.c_fc": "w16a8"}}, "awq", precision="w3a8")
    assert all((layer.codes is None) == name.endswith("c_fc") for name, layer in twins(clip.model).items())


@pytest.mark.parametrize("method", ["repq", "erq"])
def test_inputs_that_a_layer_norm_feeds_are_rounded_at_their_layers_own_precision(clip, proxy, method):
    made(clip, proxy, {"other": {"last": "w8a8", "*.0.mlp.c_fc": "w16a8"}}, method, precision="w4a4")
    for name, layer in twins(clip.model).items():
        own = 8 if "resblocks.1." in name or name.endswith("0.mlp.c_fc") else 4
        assert (layer.activation_grid.bits, layer.input.grid.bits) == (own, own), name
