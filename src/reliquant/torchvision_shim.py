"""Import open_clip where torchvision does not import: `from reliquant.torchvision_shim import open_clip`.

The torchvision wheels of the public index are CUDA builds. Beside a CPU torch their compiled part cannot be loaded, and
`import torchvision` fails while it registers fake kernels for operators that nobody declared. Declaring those
operators is enough: transforms and models are pure Python. With a matching torchvision this module does nothing.
"""

from __future__ import annotations

import sys

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library = None  # must outlive the import: the operators vanish with it

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

import open_clip  # noqa: E402

__all__ = ["open_clip"]
