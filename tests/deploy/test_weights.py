import onnx
import pytest
from onnx import TensorProto

from reliquant.deploy.weights import weight_problem
from reliquant.layers.surgery import twins


def image_twins(clip):
    return {name: layer for name, layer in twins(clip.model).items() if clip.parts.in_tower(name, "image")}


def arrays_of(path):
    return {value.name: value for value in onnx.load(path).graph.initializer}


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
    clip = towers.variant("wide", {"quantizer": "rtn", **({"weight": weight} if weight else {})}, precision)
    stored = arrays_of(towers.write(tmp_path / "x.onnx", clip))
    for name, layer in image_twins(clip).items():
        codes = stored[f"{name}.codes"]
        assert codes.data_type == kind
        per_byte = 2 if kind in (TensorProto.INT4, TensorProto.UINT4) else 1
        assert len(codes.raw_data) == layer.codes.numel() // per_byte * (2 if kind == TensorProto.INT16 else 1)


def test_scales_of_groups_are_stored_as_fp16_as_in_the_variant(towers, tmp_path):
    clip = towers.variant("wide", {"quantizer": "rtn", "weight": {"granularity": "group", "group": 16}}, "w4a8")
    stored = arrays_of(towers.write(tmp_path / "x.onnx", clip))
    assert {stored[f"{name}.scale"].data_type for name in image_twins(clip)} == {TensorProto.FLOAT16}


@pytest.mark.parametrize("precision", ["w8a8", "w16a8"])
def test_codes_that_can_be_said_and_floats_have_no_problem(towers, precision):
    layers = twins(towers.variant("wide", {"quantizer": "rtn"}, precision).model)
    assert {weight_problem(layer) for layer in layers.values()} == {""}
