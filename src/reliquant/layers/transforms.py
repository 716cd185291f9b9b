"""What may be done to a layer's input before it is rounded, and to the stream between blocks, without loss in FP32.

Each piece describes itself in plain data (`facts`), from which `build` makes it again; its numbers are buffers, which
travel with the state dict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear, rms_norm

from reliquant.layers.exporting import is_exporting
from reliquant.layers.hadamard import orthogonal_factors

CHUNK = 2**17  # numbers that are rotated at a time, so that the copies on the way stay small and in the cache


class Rotation(nn.Module):
    """Rotate rows (..., width) by a randomized Hadamard matrix: random signs, then orthogonal with equal entries.

    It takes any width: one transform of the whole if a Hadamard matrix of that order is known (and `head_tail` is not
    asked for), else one of the first 2^k coordinates and then one of the last 2^k (RaanA, section 3). A row costs
    width * sum(factors) multiply-accumulates instead of width^2.
    """

    def __init__(self, width: int, rng: np.random.Generator | None = None, /, *, head_tail: bool = False) -> None:
        super().__init__()
        self.width, self.head_tail = width, head_tail
        power = 1 << (width.bit_length() - 1)
        whole = power == width or (not head_tail and orthogonal_factors(width))
        self.spans = [(0, width)] if whole else [(0, power), (width - power, width)]
        total = sum(stop - start for start, stop in self.spans)
        signs = np.ones(total) if rng is None else rng.choice([-1.0, 1.0], total)
        self.register_buffer("signs", torch.tensor(signs, dtype=torch.int8))
        for i, (start, stop) in enumerate(self.spans):
            for j, factor in enumerate(orthogonal_factors(stop - start)):
                self.register_buffer(f"factor_{i}_{j}", factor, persistent=False)  # the width gives it: not on disk

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the rotated rows, of the shape and type of x."""
        return self.turned(x)

    def inverse(self, x: torch.Tensor) -> torch.Tensor:
        """Undo `forward`."""
        steps = list(self._steps(x.dtype))[::-1]

        def undo(x: torch.Tensor) -> torch.Tensor:
            for (start, stop), signs, factors in steps:
                x = _replace(x, start, stop, _kronecker(x[..., start:stop], [f.T for f in factors]) * signs)
            return x

        return _by_chunks(undo, x)

    def facts(self) -> dict[str, Any]:
        """Say what this is, as data."""
        return {"kind": "rotation", "width": self.width, "head_tail": self.head_tail}

    def turned(self, x: torch.Tensor, /) -> torch.Tensor:
        """Return the rotated rows."""
        steps = list(self._steps(x.dtype))

        def turn(x: torch.Tensor) -> torch.Tensor:
            for (start, stop), signs, factors in steps:
                x = _replace(x, start, stop, _kronecker(x[..., start:stop] * signs, factors))
            return x

        return _by_chunks(turn, x)

    def _steps(self, dtype: torch.dtype) -> Iterator[tuple[tuple[int, int], torch.Tensor, list[torch.Tensor]]]:
        """Yield the span (start, stop), the signs and the factors of each transform."""
        lengths = [stop - start for start, stop in self.spans]
        for i, signs in enumerate(self.signs.to(dtype).split(lengths)):
            factors = [f.to(dtype) for name, f in self._buffers.items() if name.startswith(f"factor_{i}_")]
            yield self.spans[i], signs, factors


class Smoothing(nn.Module):
    """Divide each channel of (..., width) by its factor, where the layer before cannot take the division over."""

    def __init__(self, factor: torch.Tensor, /) -> None:
        super().__init__()
        self.register_buffer("inverse_factor", 1 / factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x divided by the factors."""
        return x * self.inverse_factor.to(x.dtype)

    def facts(self) -> dict[str, Any]:
        """Say what this is, as data."""
        return {"kind": "smoothing", "width": len(self.inverse_factor)}


class RootMeanSquare(nn.Module):
    """Normalise rows by their root mean square: all that a LayerNorm does to an input that is centred already."""

    def __init__(self, width: int, eps: float, /) -> None:
        super().__init__()
        self.width, self.eps = width, eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x / sqrt(mean(x^2) + eps), of the type of x."""
        return rms_norm(x.float(), (self.width,), eps=self.eps).to(x.dtype)

    def facts(self) -> dict[str, Any]:
        """Say what this is, as data."""
        return {"kind": "rms_norm", "width": self.width, "eps": self.eps}


class Stream(Rotation):
    """Rotate what enters a stack of blocks, centred, or rotate back what leaves it."""

    def __init__(self, width: int, side: str, rng: np.random.Generator | None = None, /) -> None:
        super().__init__(width, rng)
        self.side = side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x centred and rotated, or rotated back."""
        return self.turned(x - x.mean(-1, keepdim=True)) if self.side == "in" else self.inverse(x)

    def facts(self) -> dict[str, Any]:
        """Say what this is, as data."""
        return {"kind": "stream", "width": self.width, "side": self.side}


class Compensation(nn.Module):
    """Give W x + b of the channels of a block's input x, to be added to what the block gives (QwT).

    `weight` (o, d) is held in FP16, `bias` (o,) in FP32; channels lie along `axis`, -1 of tokens, -3 of images.
    `explained` is the share of the block's squared error that it takes out on the calibration pairs.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, axis: int, explained: float, /) -> None:
        super().__init__()
        self.axis, self.explained = axis, explained
        self.register_buffer("weight", weight.half())
        self.register_buffer("bias", bias.float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return W x + b of each token or place, of the type of x."""
        rows = x.movedim(self.axis, -1)
        return linear(rows, self.weight.to(x.dtype), self.bias.to(x.dtype)).movedim(-1, self.axis)

    def facts(self) -> dict[str, Any]:
        """Say what this is, as data."""
        outputs, inputs = self.weight.shape
        words = {"inputs": inputs, "outputs": outputs, "axis": self.axis, "explained": self.explained}
        return {"kind": "compensation", **words}


def attach(block: nn.Module, piece: Stream | Compensation, /) -> None:
    """Make a block rotate its input (`side` in) or its output (`side` out) by a stream, or add a compensation.

    The block owns the piece from then on. Raises ValueError for a torch.nn.Sequential, which would run it as a layer.
    """
    if isinstance(block, nn.Sequential):
        raise ValueError(f"{type(piece).__name__}: a torch.nn.Sequential would run it as one of its layers")
    if isinstance(piece, Compensation):
        block.compensation = piece
        block.register_forward_hook(_compensate, with_kwargs=True)
        return
    stream = piece
    if stream.side == "in":
        block.stream_in = stream
        block.register_forward_pre_hook(_enter, with_kwargs=True)
    else:
        block.stream_out = stream
        block.register_forward_hook(_leave)


def build(facts: dict[str, Any], /) -> nn.Module:
    """Make the piece that `facts` describes, its buffers yet to be loaded; raise ValueError on an unknown kind."""
    kind = facts["kind"]
    if kind == "rotation":
        return Rotation(facts["width"], head_tail=facts["head_tail"])
    if kind == "smoothing":
        return Smoothing(torch.ones(facts["width"]))
    if kind == "rms_norm":
        return RootMeanSquare(facts["width"], facts["eps"])
    if kind == "stream":
        return Stream(facts["width"], facts["side"])
    if kind == "compensation":
        weight = torch.zeros(facts["outputs"], facts["inputs"])
        return Compensation(weight, weight.new_zeros(facts["outputs"]), facts["axis"], facts["explained"])
    raise ValueError(f"the variant holds a {kind!r}, which this version does not know")


def _by_chunks(turn: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Apply a function of rows (..., width); on a CPU to some rows at a time, unless a gradient needs the whole.

    A graph for any batch has no number of parts: what is exported is the function of the whole.
    """
    needs_whole = is_exporting() or (torch.is_grad_enabled() and x.requires_grad)
    if x.device.type != "cpu" or needs_whole:
        return turn(x)
    out = torch.empty(x.shape, dtype=x.dtype)
    rows, width = max(1, CHUNK // x.shape[-1]), x.shape[-1]
    for part, into in zip(x.reshape(-1, width).split(rows), out.view(-1, width).split(rows), strict=True):
        into.copy_(turn(part))
    return out


def _kronecker(x: torch.Tensor, factors: list[torch.Tensor]) -> torch.Tensor:
    """Multiply rows (..., prod) by the Kronecker product of small square matrices."""
    shape = x.shape
    for factor in factors:  # each acts on the leading axis of what is left, which then moves to the end
        x = x.reshape(*shape[:-1], len(factor), -1).transpose(-1, -2) @ factor
    return x.reshape(shape)


def _replace(x: torch.Tensor, start: int, stop: int, part: torch.Tensor) -> torch.Tensor:
    if stop - start == x.shape[-1]:
        return part
    return torch.cat([x[..., :start], part, x[..., stop:]], dim=-1)


def _enter(block: nn.Module, inputs: tuple[Any, ...], words: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Rotate a block's first input, which may come by name."""
    if inputs:
        return (block.stream_in(inputs[0]), *inputs[1:]), words
    first = next(iter(words))
    return (), {**words, first: block.stream_in(words[first])}


def _leave(block: nn.Module, inputs: object, output: torch.Tensor | tuple) -> torch.Tensor | tuple:
    if isinstance(output, tuple):
        return (block.stream_out(output[0]), *output[1:])
    return block.stream_out(output)


def _compensate(block: nn.Module, inputs: tuple[Any, ...], words: dict[str, Any], output: Any) -> Any:
    """Add what a block's first input, which may come by name, gives by the block's compensation."""
    more = block.compensation(inputs[0] if inputs else next(iter(words.values())))
    return (output[0] + more, *output[1:]) if isinstance(output, tuple) else output + more
