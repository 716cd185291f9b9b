"""The base of what looks at every operation that a module runs."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """A TorchDispatchMode that does not import torch's compiler, which takes over a second and compiles nothing here.

    torch imports it with the first operation under a mode, to keep it out of the mode's own code.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
