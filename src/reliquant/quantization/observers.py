"""Statistics of what flows into layers, gathered by hooks that are removed when the `with` block ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from reliquant.grid import Grid
from reliquant.quantization.ranges import Edges, mse_bounds, percentile_bounds


@dataclass
class Range:
    """Follow the lowest, highest and absolutely largest input by exponential moving averages over batches.

    `momentum` is the weight of the newest batch (the first author's code has 0.1); the first batch sets the value.
    """

    momentum: float
    low: torch.Tensor | None = None
    high: torch.Tensor | None = None
    absmax: torch.Tensor | None = None

    def update(self, x: torch.Tensor, /) -> None:
        """Take one batch of inputs into account; raise ValueError on NaN or infinite values."""
        low, high = x.detach().float().aminmax()
        if not torch.isfinite(high - low):
            raise ValueError("NaN or infinite values")
        for name, new in (("low", low), ("high", high), ("absmax", torch.maximum(-low, high))):
            old = getattr(self, name)
            if old is None:
                setattr(self, name, new)
            else:
                old.lerp_(new, self.momentum)

    def bounds(self, grid: Grid, /) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return the range that a grid should cover, a symmetric one the absolute maximum both ways; None if unseen."""
        if self.absmax is None:
            return None
        return (-self.absmax, self.absmax) if grid.symmetric else (self.low, self.high)


@dataclass
class ChannelRange:
    """Keep each batch's lowest and highest input per channel (..., d), so that smoothed ranges need no new pass.

    They go into one block, because small tensors that stay between large ones that come and go would fragment memory.
    """

    momentum: float
    block: torch.Tensor | None = None  # (rows, 2, d): lowest and highest per batch; `count` rows are filled
    count: int = 0

    def update(self, x: torch.Tensor, /) -> None:
        """Take one batch of inputs into account; raise ValueError on NaN or infinite values."""
        rows = x.detach().float().flatten(0, -2)
        ends = torch.stack([rows.amin(0), rows.amax(0)])  # aminmax takes ten times as long along this axis
        if not torch.isfinite(ends[1] - ends[0]).all():
            raise ValueError("NaN or infinite values")
        if self.block is None:
            self.block = ends.new_empty(32, *ends.shape)
        if self.count == len(self.block):
            self.block = torch.cat([self.block, torch.empty_like(self.block)])
        self.block[self.count] = ends
        self.count += 1

    @property
    def seen(self) -> torch.Tensor:
        """Return the lowest and highest input per batch and channel, (batches, 2, d); raise ValueError if unseen."""
        if self.block is None:
            raise ValueError("calibration: a layer saw no input; is it part of the model's forward?")
        return self.block[: self.count]

    @property
    def absmax(self) -> torch.Tensor:
        """Return the largest absolute value of each channel over all batches, (d,)."""
        return self.seen.abs().amax((0, 1))

    def channels(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return moving averages of the lowest and highest input of each channel, each (d,)."""
        mean = self.seen[0]
        for newer in self.seen[1:]:
            mean = torch.lerp(mean, newer, self.momentum)
        return mean[0], mean[1]

    def rescale(self, factor: torch.Tensor, shift: torch.Tensor | float = 0.0, /) -> None:
        """Turn what was seen of x into what would have been seen of (x + shift) / factor; the factor is positive."""
        self.block = (self.seen + shift) / factor

    def bounds(self, grid: Grid, /) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return what `Range` would return: moving averages over batches of the whole tensor's range."""
        if not self.count:
            return None
        whole = Range(self.momentum)
        for low, high in self.seen:
            whole.update(torch.stack([low.amin(), high.amax()]))
        return whole.bounds(grid)


@contextmanager
def observed(model: nn.Module, observers: Mapping[str, Any], /) -> Iterator[None]:
    """Show each named module's input to its observer's `update` while the block runs.

    Raises ValueError with the module's name when an observer refuses an input.
    """
    handles = []
    try:
        for name, observer in observers.items():
            handles.append(model.get_submodule(name).register_forward_pre_hook(_look(name, observer)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _look(name: str, observer: Any) -> Any:
    def look(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        try:
            observer.update(inputs[0])
        except ValueError as error:
            layer = name.removesuffix(".input")
            raise ValueError(f"calibration: the input of {layer} holds {error}") from None

    return look


class Bounds(Protocol):
    """What watches a layer's input and then says which range its grid should cover."""

    def update(self, x: torch.Tensor, /) -> None:
        """Take one batch of inputs into account."""

    def bounds(self, grid: Grid, /) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return the lowest and highest value to cover, or None if nothing was seen."""


@dataclass
class Percentile:
    """Follow an input's percentile by an exponential moving average over batches."""

    percent: float
    momentum: float
    grid: Grid
    now: Edges | None = None

    def update(self, x: torch.Tensor, /) -> None:
        """Take one batch of inputs into account; raise ValueError on NaN or infinite values."""
        require_finite(x)
        new = percentile_bounds(x.detach().float().reshape(1, -1), self.percent, self.grid)
        if self.now is None:
            self.now = new
        else:
            (low, high), (new_low, new_high) = self.now, new
            self.now = torch.lerp(low, new_low, self.momentum), torch.lerp(high, new_high, self.momentum)

    def bounds(self, grid: Grid, /) -> Edges | None:
        """Return the averaged range, or None if nothing was seen."""
        return self.now


@dataclass
class Sample:
    """Keep `count` random values of each batch, and its lowest and highest, to search a range on.

    `candidates` and `smallest` are those of `mse_bounds`. The values go into one block, as those of `ChannelRange` do.
    """

    count: int
    candidates: int
    smallest: float
    drawn: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))
    block: torch.Tensor | None = None  # (batches, count + 2), of which `filled` rows are filled
    filled: int = 0

    def update(self, x: torch.Tensor, /) -> None:
        """Take one batch of inputs into account; raise ValueError on NaN or infinite values."""
        require_finite(x)
        flat = x.detach().float().reshape(-1)
        chosen = torch.randint(len(flat), (self.count,), generator=self.drawn).to(flat.device)
        if self.block is None:
            self.block = flat.new_empty(8, self.count + 2)
        if self.filled == len(self.block):
            self.block = torch.cat([self.block, torch.empty_like(self.block)])
        self.block[self.filled] = torch.cat([flat[chosen], torch.stack(flat.aminmax())])
        self.filled += 1

    def bounds(self, grid: Grid, /) -> Edges | None:
        """Return the range with the least mean squared error on the kept values, or None if nothing was seen."""
        if self.block is None:
            return None
        if grid.dynamic:  # the scale of the whole tensor, in NVFP4
            return self.block[: self.filled].aminmax()
        return mse_bounds(self.block[: self.filled].reshape(1, -1), grid, self.candidates, self.smallest)


def require_finite(x: torch.Tensor, /) -> None:
    """Raise ValueError if x holds NaN or infinite values."""
    low, high = x.detach().float().aminmax()
    if not torch.isfinite(high - low):
        raise ValueError("NaN or infinite values")
