"""Which layers a scheme quantizes, and at which precision: words of `layers`."""

import pytest

from reliquant.layers.surgery import targets, twins, unpack
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.quantize import quantize
from reliquant.quantization.where import chosen
from reliquant.study.config import with_grids


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


@pytest.mark.parametrize("quantizer", ["rtn", "gptq", "awq", "hqq", "mse", "percentile", "smoothquant"])
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
