import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from reliquant.deploy.weights import weight_problem
from reliquant.layers.surgery import twins
from reliquant.layers.twins import QuantConv2d, SparedInput


def image_twins(clip):
    return {name: layer for name, layer in twins(clip.model).items() if clip.parts.in_tower(name, "image")}


def last_of(path, places):
    """Name the last node that makes the weight of each place."""
    found = {}
    for node in onnx.load(path).graph.node:
        for place in places:
            if node.name.startswith(f"{place}.weight."):
                found[place] = node
    return found


def arrays_of(path):
    return {value.name: value for value in onnx.load(path).graph.initializer}


def is_flat(path, place):
    """Whether a weight's codes are laid out as (o, d), and turned or reshaped after they are numbers."""
    return last_of(path, [place])[place].op_type != "DequantizeLinear"


def test_what_a_file_multiplies_by_is_the_simulations_weight_to_the_bit(written, inputs, seen_by_reference):
    clip, path = written
    layers = {name: layer for name, layer in image_twins(clip).items() if layer.codes is not None}
    assert layers
    nodes = last_of(path, layers)
    assert set(nodes) == set(layers)
    kinds = {node.op_type for node in nodes.values()}
    _, seen = seen_by_reference(path, inputs(clip, "image", 1), kinds=kinds)
    for name, layer in layers.items():
        want = layer.weight.detach().numpy()
        if isinstance(layer.input, SparedInput):
            want = want.copy()
            want[:, layer.input.columns.numpy()] = seen[nodes[name].name][1].T[:, layer.input.columns.numpy()]
        want = want if isinstance(layer, QuantConv2d) else want.T
        np.testing.assert_array_equal(seen[nodes[name].name][1], want, err_msg=name)


def test_codes_and_scales_in_the_file_are_the_variants_read_back(written):
    clip, path = written
    arrays = arrays_of(path)
    for name, layer in image_twins(clip).items():
        if layer.codes is None:
            continue
        codes = numpy_helper.to_array(arrays[f"{name}.codes"])
        scale = numpy_helper.to_array(arrays[f"{name}.scale"]).astype(np.float32)
        own = layer.codes.numpy()
        if layer.weight_grid.is_float:
            codes = codes.view(np.uint8)
        codes = codes.astype(np.int32)
        if not isinstance(layer, QuantConv2d) and not is_flat(path, name):
            codes = codes.T
        want = own.reshape(codes.shape).astype(np.int32)
        if isinstance(layer.input, SparedInput):
            want = want.copy()
            want[:, layer.input.columns.numpy()] = 0
        halves = layer.weight_zero.numpy() % 1
        factor = 2 if layer.weight_grid.scales_as != "fp16" and halves.any() and not (halves * 2 % 1).any() else 1
        if factor == 2:
            want = 2 * want - int(2 * layer.weight_zero.flatten()[0])
        np.testing.assert_array_equal(codes, want, err_msg=name)
        np.testing.assert_array_equal(
            np.sort(scale * factor, axis=None), np.sort(layer.weight_scale.numpy(), axis=None)
        )


@pytest.mark.parametrize(
    ("precision", "weight", "kind"),
    [
        ("w3a8", {}, TensorProto.INT4),
        ("w4a8", {}, TensorProto.INT4),
        ("w4a8", {"symmetric": False, "signed": False}, TensorProto.UINT4),
        ("w6a6", {}, TensorProto.INT8),
        ("w8a8", {}, TensorProto.INT8),
        ("w10a10", {}, TensorProto.INT16),
        ("fp8", {}, TensorProto.FLOAT8E4M3FN),
    ],
)
def test_codes_are_stored_at_their_width(towers, tmp_path, precision, weight, kind):
    clip = towers.variant("vit", {"quantizer": "rtn", **({"weight": weight} if weight else {})}, precision)
    stored = arrays_of(towers.write(tmp_path / "x.onnx", clip))
    for name, layer in image_twins(clip).items():
        codes = stored[f"{name}.codes"]
        assert codes.data_type == kind
        per_byte = 2 if kind in (TensorProto.INT4, TensorProto.UINT4) else 1
        assert len(codes.raw_data) == layer.codes.numel() // per_byte * (2 if kind == TensorProto.INT16 else 1)


def test_scales_of_groups_are_stored_as_fp16_as_in_the_variant(towers, tmp_path):
    clip = towers.variant("vit", {"quantizer": "rtn", "weight": {"granularity": "group", "group": 16}}, "w4a8")
    stored = arrays_of(towers.write(tmp_path / "x.onnx", clip))
    assert {stored[f"{name}.scale"].data_type for name in image_twins(clip)} == {TensorProto.FLOAT16}


@pytest.mark.parametrize("precision", ["w8a8", "w16a8"])
def test_codes_that_can_be_said_and_floats_have_no_problem(towers, precision):
    layers = twins(towers.variant("vit", {"quantizer": "rtn"}, precision).model)
    assert {weight_problem(layer) for layer in layers.values()} == {""}
