import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import onnx
import pytest
from onnx import TensorProto, helper

from reliquant import plugins
from reliquant.deploy import engines
from reliquant.deploy.runtimes import RUNTIMES

ROOT = plugins.PACKAGE.parents[1]

OPENED = """
import json, sys, time
from pathlib import Path
from reliquant.deploy.runtimes import opened

path, runtime = Path(sys.argv[1]), sys.argv[2]
if runtime == "openvino":  # which reports conversions, too
    import onnx_ir
    from reliquant.deploy.export import save_openvino

    save_openvino(onnx_ir.load(path), Path.home() / "product.xml")
opened(path, runtime, threads=1)
time.sleep(0.5)  # what reports does so in threads of its own
print(json.dumps([name for name, module in sys.modules.items() if module and name.startswith("openvino_telemetry")]))
"""


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    """A file of one product."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1.0, 2.0, 3.0, 4.0])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    path = tmp_path_factory.mktemp("product") / "product.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_neither_runtime_prepares_to_report_what_it_runs(product, runtime, tmp_path):
    """Each would leave the number that it gives its user, and what it could not send yet, in the user's home.

    The environment is that of a user who never chose: not that of a service that runs tests, where neither reports.
    """
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [sys.executable, "-c", OPENED, product, runtime]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
    kept = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in kept if "intel" in path or "onnxruntime" in path] == []


@pytest.mark.parametrize(("said", "kept"), [(None, "1"), ("", "1"), ("0", "0"), ("true", "true")])
def test_a_users_own_choice_stays(monkeypatch, said, kept):
    """Of a stand-in for ONNX Runtime: the real one would report where a user lets it."""
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    if said is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", said)
    assert engines.onnxruntime() is sys.modules["onnxruntime"]
    assert os.environ["ORT_DISABLE_TELEMETRY"] == kept


def imports(tree):
    """The packages that a piece of code imports, with their lines."""
    for node in ast.walk(tree):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        yield from ((name.partition(".")[0], node.lineno) for name in names)


@pytest.mark.parametrize("folder", ["src", "benchmarks", "tools", "workflow"])
def test_no_other_file_imports_a_runtime(folder):
    for path in (ROOT / folder).rglob("*.py"):
        text = path.read_text()
        found = dict(imports(ast.parse(text)))
        if path != Path(engines.__file__):
            assert not {"onnxruntime", "openvino"} & found.keys(), path
        for line in [line for name, line in imports(ast.parse(text)) if name == "nncf"]:  # reports as OpenVINO does
            before = "".join(text.splitlines(keepends=True)[:line]).rpartition("\ndef ")[2]
            assert "engines.openvino()" in before, f"{path}:{line}"
