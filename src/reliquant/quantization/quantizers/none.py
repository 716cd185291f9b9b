"""FP32: the baseline is a scheme like any other."""

from __future__ import annotations

from reliquant.models.clip import Clip
from reliquant.quantization.checkpoints import Checkpoints
from reliquant.quantization.proxy import Proxy


def quantizer(clip: Clip, names: list[str], proxy: Proxy | None, saved: Checkpoints, /) -> None:
    """Leave the model as it is."""
