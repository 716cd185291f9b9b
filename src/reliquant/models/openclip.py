"""Import open_clip quickly, and also where torchvision alone cannot be imported.

Use it as `from reliquant.models.openclip import open_clip`.

The torchvision wheels of the public index are CUDA builds. Beside a CPU build of torch their compiled part cannot be
loaded, and `import torchvision` fails while it registers fake kernels for operators that nobody declared. It is enough
to declare those operators: transforms and models are pure Python. With a torchvision that fits nothing is declared.

So this module changes other modules while it imports them: there is no other place to do it, because the faults are in
the imports themselves. What it changes for the time of the import it puts back; what stays are the declared operators.
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
_library = None  # holds the declared operators, which vanish with it: so it must outlive the import


def is_compile_supported(device_type: str) -> bool:
    """Ask torch._dynamo, which is imported only when somebody calls this."""
    import torch._dynamo.utils

    return torch._dynamo.utils.is_compile_supported(device_type)


def _not_disabled(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    """Stand in for `torch.compiler.disable`, with or without parentheses: return the function as it is."""
    return (lambda decorated: decorated) if function is None else function


@contextmanager
def _without_dynamo() -> Iterator[None]:
    """Avoid the import of torch._dynamo while the block runs.

    It takes longer than the import of torch itself, and nothing here needs it before a training. torchvision imports
    one function of it, for which `is_compile_supported` stands in; timm decorates methods with
    `torch.compiler.disable`, which imports it too but has no effect as long as nobody compiles a model.
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
