"""The packages of the runtimes, imported so that neither reports its use.

Both do so unless they are told not to: ONNX Runtime (from 1.29 on, in its builds for Linux) sends Microsoft the names
of a model's file and graph with digests of its weights, OpenVINO sends Google Analytics what is imported and converted.
Which models somebody quantizes is their own business. A package that is imported already stays as it is.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType


def onnxruntime() -> ModuleType:
    """Import ONNX Runtime; it reports nothing, unless ORT_DISABLE_TELEMETRY is set to 0 or a word like that."""
    if not os.environ.get("ORT_DISABLE_TELEMETRY"):  # an empty one would let it report
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def openvino() -> ModuleType:
    """Import OpenVINO as if `openvino_telemetry` were not installed, the package that it reports with."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
