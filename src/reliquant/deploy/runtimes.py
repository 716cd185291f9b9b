"""Run an exported tower in another runtime, and read from it which of its layers it computes with integers."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from reliquant.deploy import engines

Runtime = Literal["onnxruntime", "openvino"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
MISSING = "is not installed: pip install 'reliquant[deploy]'"
PRODUCTS = {  # of ONNX Runtime's optimized graph: operators that multiply by a weight, and in what
    **dict.fromkeys(("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "Conv", "FusedConv", "NhwcFusedConv"), "float32"),
    **dict.fromkeys(("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul"), "int8"),
    **dict.fromkeys(("QLinearConv", "ConvInteger", "QGemm", "QAttention"), "int8"),
    "MatMulNBits": "float32, weights from codes in each run",
}
OPENVINO_PRODUCTS = ("FullyConnected", "MatMul", "Convolution", "GroupConvolution")


@dataclass(frozen=True)
class Session:
    """Hold an opened tower: `run` embeds a batch, (n, ...) to (n, d); `facts` say what runs it, and how.

    `facts` has `runtime`, `version`, `provider`, `threads`, `layers` (how many products run in which type, by type) and
    `nodes` (their names by type).
    """

    run: Callable[[NDArray[Any]], NDArray[np.float32]]
    facts: dict[str, Any]


def opened(path: Path, runtime: Runtime, /, *, threads: int = 0, explained: bool = True) -> Session:
    """Open an ONNX file (or OpenVINO's .xml) on the CPU; with 0 threads the runtime chooses how many.

    Unless `explained`, `layers` and `nodes` of the facts are empty: finding them takes seconds and memory.

    Raises ValueError where the runtime is not installed or refuses the file, with its reason.
    """
    try:
        return (_onnxruntime if runtime == "onnxruntime" else _openvino)(Path(path), threads, explained)
    except ImportError as error:
        raise ValueError(f"{runtime} {MISSING}") from error
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{path}: {runtime} refuses it: {' '.join(str(error).split())[:300]}") from error


def _onnxruntime(path: Path, threads: int, explained: bool) -> Session:
    onnxruntime = engines.onnxruntime()
    if path.suffix == ".xml":
        raise ValueError(f"{path}: is OpenVINO's; ONNX Runtime reads .onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # not int8 inputs unasked
    provider = "CPUExecutionProvider"
    with tempfile.TemporaryDirectory() as folder:
        if explained:
            options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:  # of its own kinds, which share no class but this one
            raise RuntimeError(str(error)) from error
        nodes = _products_of_graph(Path(folder) / "optimized.onnx") if explained else {}
    name = session.get_inputs()[0].name

    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        return session.run(None, {name: batch})[0]

    return Session(run, _facts("onnxruntime", provider, threads, nodes))


def _products_of_graph(path: Path) -> dict[str, list[str]]:
    """Name the products by weights of ONNX Runtime's optimized graph, by the type that they run in."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    constant = {each.name for each in graph.initializer}
    produced = {name: node for node in graph.node for name in node.output}

    def is_constant(name: str) -> bool:
        """Whether a value is a weight, or made of nothing but initializers."""
        if name in constant or not name:
            return True
        node = produced.get(name)
        return node is not None and all(map(is_constant, node.input))

    nodes: dict[str, list[str]] = {}
    for node in graph.node:
        if node.op_type not in PRODUCTS or not any(map(is_constant, list(node.input)[1:2] + list(node.input)[3:4])):
            continue
        kind = PRODUCTS[node.op_type]
        if kind == "float32" and _reads_codes(node, produced):
            kind = "float32, weights from codes in each run"
        nodes.setdefault(kind, []).append(node.name)
    return nodes


def _reads_codes(node: Any, produced: dict[str, Any]) -> bool:
    weight = produced.get(node.input[1])
    return weight is not None and weight.op_type == "DequantizeLinear"


def _openvino(path: Path, threads: int, explained: bool) -> Session:
    openvino = engines.openvino()
    words: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}  # not bfloat16 unasked
    words["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0  # nor inputs in int8
    if threads:
        words["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(str(path), "CPU", words)
    request = compiled.create_infer_request()
    nodes: dict[str, list[str]] = {}
    for node in compiled.get_runtime_model().get_ordered_ops() if explained else []:
        info = node.get_rt_info()
        if info["layerType"].astype(str) in OPENVINO_PRODUCTS:
            kinds = [node.input_value(place).get_element_type().get_type_name() for place in (0, 1)]
            nodes.setdefault(_computed(*kinds), []).append(node.get_friendly_name())

    def run(batch: NDArray[Any]) -> NDArray[np.float32]:
        return np.array(request.infer({0: batch})[0])  # a copy: the request writes into its own memory again

    return Session(run, _facts("openvino", "CPU", threads, nodes))


def _computed(inputs: str, weights: str) -> str:
    """Say in which type OpenVINO computes a product of inputs and weights of the given types."""
    if inputs in ("u8", "i8") and weights in ("u8", "i8"):
        return "int8"
    kind = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}.get(inputs, inputs)
    return kind if weights == inputs else f"{kind}, weights from codes in each run"


def _facts(runtime: Runtime, provider: str, threads: int, nodes: dict[str, list[str]]) -> dict[str, Any]:
    layers = dict(Counter({kind: len(names) for kind, names in nodes.items()}))
    return {
        "runtime": runtime,
        "version": version(runtime),
        "provider": provider,
        "threads": threads,
        "layers": layers,
        "nodes": nodes,
    }
