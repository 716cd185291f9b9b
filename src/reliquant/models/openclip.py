"""Import open_clip where torchvision does not import, and fast: `from reliquant.models.openclip import open_clip`.

The torchvision wheels of the public index are CUDA builds. Beside a CPU torch their compiled part cannot be loaded, and
`import torchvision` fails while it registers fake kernels for operators that nobody declared. Declaring those
operators is enough: transforms and models are pure Python. With a matching torchvision nothing is declared.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_DYNAMO = "torch._dynamo.utils"
_library = None  # must outlive the import: the operators vanish with it


def is_compile_supported(device_type: str) -> bool:
    """Ask torch._dynamo, once somebody calls."""
    import torch._dynamo.utils

    return torch._dynamo.utils.is_compile_supported(device_type)


def _not_disabled(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    return (lambda f: f) if function is None else function


@contextmanager
def _without_dynamo() -> Iterator[None]:
    """Spare the import of torch._dynamo, longer than torch's own, which nothing here uses before a training.

    torchvision takes one function of it, and timm decorates methods with `torch.compiler.disable`, which says nothing
    as long as nobody compiles a model.
    """
    if "torch._dynamo" in sys.modules:
        yield
        return
    disable = torch.compiler.disable
    sys.modules[_DYNAMO] = types.ModuleType(_DYNAMO)
    sys.modules[_DYNAMO].is_compile_supported = is_compile_supported
    torch.compiler.disable = _not_disabled
    try:
        yield
    finally:
        torch.compiler.disable = disable
        del sys.modules[_DYNAMO]


with _without_dynamo():
    try:
        import torchvision
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for _name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[_name]
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for _schema in _SCHEMAS:
            _library.define(_schema)
        import torchvision  # noqa: F401

    import open_clip

__all__ = ["open_clip"]
