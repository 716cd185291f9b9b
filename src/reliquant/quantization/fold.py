"""Find the LayerNorms whose output only Linears read, and move factors and offsets between the two."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from reliquant.layers.coverage import located
from reliquant.layers.twins import QuantLinear, Twin
from reliquant.models.clip import Clip
from reliquant.models.dispatch import DispatchMode
from reliquant.models.parts import storage_of, tensors_in
from reliquant.quantization.calibrate import feed
from reliquant.quantization.proxy import Proxy


def layer_norm_readers(clip: Clip, names: Iterable[str], proxy: Proxy, /) -> dict[str, list[str]]:
    """Return the named Linears that each LayerNorm feeds, LayerNorm -> Linears, if nothing else reads its output.

    Two images and captions run through the model, and every operator that takes a LayerNorm's output (or a view of it)
    is seen as torch dispatches it. So a LayerNorm that a residual branch or an attention pooling reads, too, is left
    out in any architecture; also those without scale and shift, into which nothing can be folded.
    """
    clip.parts  # noqa: B018  found before anything is watched: that takes a forward of its own
    norms = {name: m for name, m in clip.model.named_modules() if _foldable(m)}
    flow = _Flow()
    handles = [module.register_forward_hook(flow.follow(name)) for name, module in norms.items()]
    try:
        with located(clip.model, flow), flow:
            feed(clip, names, proxy, batch=2, pairs=2)
    finally:
        for handle in handles:
            handle.remove()
    linears = {name for name in names if isinstance(clip.model.get_submodule(name), nn.Linear | QuantLinear)}
    return {norm: list(readers) for norm, readers in flow.readers.items() if readers and linears.issuperset(readers)}


@torch.no_grad()
def divide_output(norm: nn.LayerNorm, factor: torch.Tensor, readers: Iterable[nn.Linear | QuantLinear], /) -> None:
    """Divide a LayerNorm's output by a factor (d,) and multiply the columns of its readers by it: FP32-equivalent."""
    norm.weight.div_(factor)
    norm.bias.div_(factor)
    for layer in readers:
        layer.weight.mul_(factor)


@torch.no_grad()
def shift_output(norm: nn.LayerNorm, shift: torch.Tensor, readers: Iterable[nn.Linear | QuantLinear], /) -> None:
    """Add a shift (d,) to a LayerNorm's output and take it back in its readers' biases: FP32-equivalent."""
    norm.bias.add_(shift)
    for layer in readers:
        add_bias(layer, -layer.weight @ shift)


@torch.no_grad()
def add_bias(layer: nn.Linear | Twin, bias: torch.Tensor, /) -> None:
    """Add to a layer's bias; it gets one if it has none."""
    if layer.bias is None:
        layer.bias = nn.Parameter(bias.clone())
    else:
        layer.bias.add_(bias)


def _foldable(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm) and module.weight is not None and module.bias is not None


class _Flow(DispatchMode):
    """Note which modules read the output of which LayerNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = [""]
        self.called: dict[str, None] = {}
        self.readers: dict[str, dict[str, None]] = {}
        self.outputs: dict[int, tuple[str, torch.Tensor]] = {}  # it holds the tensors so that no storage is used twice

    def follow(self, name: str) -> Any:
        """Make the hook that marks a LayerNorm's output."""

        def mark(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            self.readers.setdefault(name, {})
            self.outputs[storage_of(output)] = (name, output)

        return mark

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        views = set() if func._schema.is_mutable else {storage_of(t) for t in tensors_in(out)}  # a view reads nothing
        for tensor in tensors_in([args, *(kwargs or {}).values()]):
            storage = storage_of(tensor)
            if storage in self.outputs and storage not in views:
                self.readers[self.outputs[storage][0]][self.stack[-1]] = None
        return out
