"""FP32: the baseline is a scheme like any other."""

from __future__ import annotations

from reliquant.clip import Clip
from reliquant.proxy import Proxy
from reliquant.resume import Checkpoints


def quantizer(clip: Clip, names: list[str], proxy: Proxy | None, saved: Checkpoints, /) -> None:
    """Leave the model as it is."""
