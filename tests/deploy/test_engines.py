import json
import os
import subprocess
import sys

import onnx
import pytest
from onnx import TensorProto, helper

from reliquant.deploy.runtimes import RUNTIMES

OPENED = """
import json, os, sys, time
from reliquant.deploy.runtimes import opened

opened(sys.argv[1], sys.argv[2], threads=1)
time.sleep(0.5)  # what reports does so in threads of its own
reporting = [name for name, module in sys.modules.items() if module and name.startswith("openvino_telemetry")]
print(json.dumps([os.environ.get("ORT_DISABLE_TELEMETRY"), reporting]))
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


def opened_at(home, path, runtime, **words):
    """What a process of its own has at its end that opened a file, of a user who never chose what is reported."""
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    kept = {name: value for name, value in kept.items() if not name.startswith("XDG_")}
    command = [sys.executable, "-c", OPENED, path, runtime]
    done = subprocess.run(command, env=kept | {"HOME": str(home)} | words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_neither_runtime_prepares_to_report_what_it_runs(product, runtime, tmp_path):
    """Each would leave the number that it gives its user, and what it could not send yet, in the user's home."""
    switch, reporting = opened_at(tmp_path, product, runtime)
    kept = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in kept if "intel" in path or "onnxruntime" in path] == []
    assert reporting == []
    assert switch == ("1" if runtime == "onnxruntime" else None)


def test_a_users_own_choice_stays(product, tmp_path):
    assert opened_at(tmp_path, product, "onnxruntime", ORT_DISABLE_TELEMETRY="true")[0] == "true"
