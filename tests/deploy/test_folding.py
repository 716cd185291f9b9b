import numpy as np
import onnx
import onnx_ir as ir
import pytest

from reliquant.deploy.filling import filled
from reliquant.deploy.folding import fold_resized
from reliquant.deploy.nodes import OPSET
from reliquant.deploy.runtimes import opened
from reliquant.deploy.tracing import traced
from reliquant.layers.surgery import unpack


@pytest.fixture(scope="module")
def resizing(new_clip, tmp_path_factory):
    """A tower that resizes its position embeddings in each forward: timm's, for images larger than it was made for."""
    clip = new_clip("timm_vit")
    unpack(clip)
    template = traced(clip, "image")
    assert [node for node in template.graph if node.op_type == "Resize"]
    path = tmp_path_factory.mktemp("tower") / "image.onnx"
    ir.save(filled(template, clip, "image"), path)
    return clip, path


def test_resized_position_embeddings_are_numbers_of_the_file(resizing):
    graph = onnx.load(resizing[1]).graph
    assert "Resize" not in {node.op_type for node in graph.node}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runtimes_read_the_positions_that_torch_does(resizing, inputs, simulated, runtime):
    clip, path = resizing
    batch = inputs(clip, "image")
    np.testing.assert_allclose(opened(path, runtime).run(batch), simulated(clip, "image", batch), atol=2e-6)


def test_what_an_input_changes_is_not_folded():
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1, 1, 4, 4]))
    node = ir.node("Resize", [x, None, None, None], name="r")
    graph = ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": OPSET}, name="g")
    fold_resized(graph)
    assert [one.op_type for one in graph] == ["Resize"]
