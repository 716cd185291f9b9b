"""A model on the meta device: its tensors have shapes and no values, so that any size takes no memory and no time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from reliquant.models.dispatch import DispatchMode

_Form = tuple[Any, ...]  # shape, strides and type of a tensor, or one such of each of several


def is_shape_only(model: nn.Module, /) -> bool:
    """Whether the parameters of a model are on the meta device."""
    return any(parameter.is_meta for parameter in model.parameters())


@contextmanager
def shapes_only() -> Iterator[None]:
    """Let code run on tensors without values while the block runs, where only shapes matter.

    What asks for a value gets 1.0 (a floating-point number), 0 (a whole one) or true; what asks for the places of
    values that are not 0 finds none. What an operation makes of tensors of the same shapes is worked out once: torch
    takes a third of a millisecond for each on the meta device, and the blocks of a model are alike.
    """
    with _Answers():
        yield


class _Answers(DispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.known: dict[Any, _Form] = {}  # of what comes out, by the operation and the forms of what goes in
        self.kinds: dict[Any, str] = {}  # of operations: "new", "in place" or "other"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if args and isinstance(args[0], torch.Tensor) and args[0].is_meta:
            if func is torch.ops.aten._local_scalar_dense.default:
                return _value(args[0].dtype)
            if func is torch.ops.aten.nonzero.default:
                return torch.empty(0, args[0].ndim, dtype=torch.long, device="meta")
        if func not in self.kinds:
            self.kinds[func] = _kind(func)
        key = self._key(func, args, kwargs) if self.kinds[func] != "other" else None
        if key in self.known:
            return args[0] if self.kinds[func] == "in place" else _made(self.known[key])
        before = _form(args[0]) if key and self.kinds[func] == "in place" else None
        out = func(*args, **kwargs)
        form = _form(out) if key else None
        if form and before in (None, form):
            self.known[key] = form
        return out

    def _key(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Say what determines the form of what comes out; None where that may be more than forms and numbers."""
        try:
            return func, *map(_described, args), *((name, _described(value)) for name, value in kwargs.items())
        except _Unknown:
            return None


class _Unknown(Exception):
    """Something that may determine more than forms say."""


def _kind(func: Any) -> str:
    """Say whether an operation makes new tensors, or changes the first that it is given and returns it."""
    shared = [i for i, argument in enumerate(func._schema.arguments) if argument.alias_info]
    if not shared:
        return "new"
    changed = shared == [0] and func._schema.arguments[0].alias_info.is_write
    return "in place" if changed and len(func._schema.returns) == 1 else "other"


def _form(out: Any) -> _Form | None:
    """Return shape, strides and type of each tensor that came out; None where something else did."""
    if isinstance(out, tuple):
        forms = [_form(x) for x in out]
        return None if None in forms else tuple(forms)
    is_known = isinstance(out, torch.Tensor) and out.is_meta and out.layout == torch.strided
    return (out.shape, out.stride(), out.dtype) if is_known else None


def _made(form: _Form) -> Any:
    if not isinstance(form[0], torch.Size):
        return tuple(map(_made, form))
    shape, stride, dtype = form
    return torch.empty_strided(shape, stride, dtype=dtype, device="meta")


def _described(value: Any) -> Any:
    """Return what stands for a value in a key: of a tensor its form, of a number its type, too, as 1 == 1.0 == True."""
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or (value.ndim and not value.is_meta):  # its values may say how much is taken
            raise _Unknown
        return value.is_meta, value.shape, value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return tuple(map(_described, value))
    if value is None or isinstance(value, int | float | str | torch.dtype | torch.device | torch.layout):
        return type(value), value
    raise _Unknown


def _value(dtype: torch.dtype) -> float | int | bool:
    if dtype == torch.bool:
        return True
    return 1.0 if dtype.is_floating_point else 0
