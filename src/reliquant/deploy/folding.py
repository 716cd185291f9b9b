"""Compute what of a graph no input changes, where runtimes would compute it otherwise than torch."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper
from onnx.reference import ReferenceEvaluator

from reliquant.deploy.nodes import OPSET, Builder


def fold_transposed(graph: ir.Graph, /) -> None:
    """Replace each Transpose of an initializer by an initializer of its own.

    OpenVINO 2026.4 multiplies by other numbers where a constant is read both as it is and transposed.
    """
    for node in [node for node in graph if node.op_type == "Transpose"]:
        (source,) = node.inputs
        if source is None or source.name not in graph.initializers:
            continue
        order = node.attributes["perm"].as_ints()
        build = Builder(graph, node, str(source.name), "transposed")
        array = np.ascontiguousarray(source.const_value.numpy().transpose(order))
        node.outputs[0].replace_all_uses_with(build.initializer(f"transposed_{'_'.join(map(str, order))}", array))
        graph.remove(node, safe=True)


def fold_resized(graph: ir.Graph, /) -> None:
    """Replace each Resize of nothing but initializers by what it gives, such as resized position embeddings.

    OpenVINO 2026.4 resizes them to other numbers than torch, ONNX's reference evaluator and ONNX Runtime.
    """
    for node in [node for node in graph if node.op_type == "Resize"]:
        above = _above(node, graph)
        if above is None:
            continue
        array = _computed([one for one in graph if one in above], node.outputs[0], graph)
        build = Builder(graph, node, str(node.name), "folded")
        node.outputs[0].replace_all_uses_with(build.initializer("resized", array))
        graph.remove(node, safe=True)


def _above(node: ir.Node, graph: ir.Graph) -> set[ir.Node] | None:
    """Return a node and all that it is computed by; None where an input of the graph is among that."""
    found, waiting = {node}, [node]
    while waiting:
        for value in waiting.pop().inputs:
            if value is None or value.name in graph.initializers:
                continue
            maker = value.producer()
            if maker is None:
                return None
            if maker not in found:
                found.add(maker)
                waiting.append(maker)
    return found


def _computed(nodes: list[ir.Node], output: ir.Value, graph: ir.Graph) -> np.ndarray:
    """Compute a value by nodes that read nothing but initializers, in ONNX's reference evaluator."""
    names: set[str] = set()
    for node in nodes:
        names |= {str(value.name) for value in node.inputs if value is not None}
    known = [graph.initializers[name].const_value for name in sorted(names & set(graph.initializers))]
    told = helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, None)
    protos = [ir.to_proto(node) for node in nodes]
    part = helper.make_graph(protos, "part", [], [told], initializer=[ir.to_proto(tensor) for tensor in known])
    model = helper.make_model(part, opset_imports=[helper.make_opsetid("", OPSET)])
    return ReferenceEvaluator(model).run(None, {})[0].astype(np.float32)
