"""A model on the meta device: its tensors have shapes and no values, so that any size takes no memory and no time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from reliquant.models.dispatch import DispatchMode


def is_shape_only(model: nn.Module, /) -> bool:
    """Whether the parameters of a model are on the meta device."""
    return any(parameter.is_meta for parameter in model.parameters())


@contextmanager
def shapes_only() -> Iterator[None]:
    """Let code run on tensors without values while the block runs, where only shapes matter.

    What asks for a value gets 1.0 (a floating-point number), 0 (a whole one) or true; what asks for the places of
    values that are not 0 finds none.
    """
    with _Answers():
        yield


class _Answers(DispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if args and isinstance(args[0], torch.Tensor) and args[0].is_meta:
            if func is torch.ops.aten._local_scalar_dense.default:
                return _value(args[0].dtype)
            if func is torch.ops.aten.nonzero.default:
                return torch.empty(0, args[0].ndim, dtype=torch.long, device="meta")
        return func(*args, **(kwargs or {}))


def _value(dtype: torch.dtype) -> float | int | bool:
    if dtype == torch.bool:
        return True
    return 1.0 if dtype.is_floating_point else 0
