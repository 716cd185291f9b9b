import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
import torch

from reliquant.deploy.nodes import OPSET, Builder, array_of, integer_type


@pytest.fixture
def build():
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    end = ir.node("Identity", [x], name="end")
    graph = ir.Graph([x], end.outputs, nodes=[end], opset_imports={"": OPSET}, name="g")
    return Builder(graph, end, "layer", "part")


def test_nodes_are_named_by_place_and_part_and_stand_before_the_end(build):
    first = build.node("Relu", [build.graph.inputs[0]])
    second = build.cast(first, ir.DataType.FLOAT16)
    assert [node.name for node in build.graph] == ["layer.part.Relu_1", "layer.part.Cast_2", "end"]
    assert second.producer().attributes["to"].as_int() == ir.DataType.FLOAT16


def test_an_initializer_of_one_name_is_made_once(build):
    first = build.initializer("scale", np.ones(3, np.float32))
    assert build.initializer("scale", np.zeros(3, np.float32)) is first
    assert list(build.graph.initializers) == ["layer.scale"]
    assert build.number_of("one", 1).const_value.numpy().dtype == np.float32


@pytest.mark.parametrize(
    ("bits", "signed", "least", "kind"),
    [
        (2, True, 4, ml_dtypes.int4),
        (4, False, 4, ml_dtypes.uint4),
        (5, True, 4, np.int8),
        (3, True, 8, np.int8),
        (8, False, 8, np.uint8),
        (9, True, 4, np.int16),
    ],
)
def test_the_narrowest_type_that_holds_the_codes_is_taken(bits, signed, least, kind):
    assert integer_type(bits, signed, least=least) is kind


def test_arrays_are_those_of_tensors_without_their_gradients():
    x = torch.ones(2, requires_grad=True) * 2
    np.testing.assert_array_equal(array_of(x), [2, 2])
