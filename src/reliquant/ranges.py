"""Ranges that leave out part of the values: by percentile, or by the least mean squared error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from reliquant.fakequant import affine, blocks
from reliquant.grid import Grid

Bounds = tuple[torch.Tensor, torch.Tensor]
CHUNK = 2**17  # numbers of a row sorted out together: that copies them, with an index for each


def percentile_bounds(rows: torch.Tensor, percent: float, grid: Grid, /) -> Bounds:
    """Return the range, each (rows, 1), that holds `percent` of the values of each row (rows, k).

    Symmetric grids: of the absolute values; others: the percentile and its mirror. Nearest rank, no interpolation.

    >>> percentile_bounds(torch.arange(101.0)[None], 90, Grid(bits=8))[1].item()
    90.0
    """
    count = rows.shape[1] - round(percent / 100 * (rows.shape[1] - 1))  # the bound is the count-th largest
    if grid.symmetric:
        high = _extreme(rows, count, torch.abs)
        return -high, high
    return -_extreme(rows, count, torch.neg), _extreme(rows, count, torch.positive)


def _extreme(rows: torch.Tensor, count: int, view: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Return the `count`-th largest of what `view` makes of each row (rows, k), as (rows, 1)."""
    largest = rows[:, :0]  # so far
    for chunk in rows.split(max(CHUNK, count), dim=1):
        largest = torch.cat([largest, view(chunk)], dim=1)
        largest = largest.topk(min(count, largest.shape[1]), dim=1, sorted=False).values
    return largest.amin(1, keepdim=True)


def mse_bounds(rows: torch.Tensor, grid: Grid, candidates: int, smallest: float, /) -> Bounds:
    """Return the range, each (rows, 1), whose grid has the least mean squared error on each row (rows, k).

    Tried are `candidates` evenly spaced shares, from `smallest` to 1, of each row's full range.
    """
    low, high = (edge[:, None] for edge in rows.aminmax(dim=1))
    if grid.symmetric:
        high = torch.maximum(-low, high)
        low = -high
    best = torch.full_like(high, torch.inf)
    share = torch.ones_like(high)
    for candidate in torch.linspace(1, smallest, candidates).tolist():
        scale, zero = affine(low * candidate, high * candidate, grid)
        value = (rows / scale).add_(zero).round_().clamp_(grid.low, grid.high).sub_(zero).mul_(scale)
        error = value.sub_(rows).square_().sum(1, keepdim=True)
        better = error < best
        best, share = torch.where(better, error, best), share.masked_fill(better, candidate)
    return low * share, high * share


def weight_rows(weight: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """View a weight as rows that share a scale, float32."""
    return blocks(weight.detach().float(), grid)


@dataclass
class Percentile:
    """Follow an input's percentile by an exponential moving average over batches."""

    percent: float
    momentum: float
    grid: Grid
    now: Bounds | None = None

    def update(self, x: torch.Tensor, /) -> None:
        """Take one batch of inputs into account; raise ValueError on NaN or infinite values."""
        require_finite(x)
        new = percentile_bounds(x.detach().float().reshape(1, -1), self.percent, self.grid)
        self.now = new if self.now is None else tuple(map(lambda a, b: torch.lerp(a, b, self.momentum), self.now, new))

    def bounds(self, grid: Grid, /) -> Bounds | None:
        """Return the averaged range, or None if nothing was seen."""
        return self.now


@dataclass
class Sample:
    """Keep some random values of each batch, and the lowest and highest of all, to search a range on.

    They go into one block, as those of `observe.ChannelRange` do.
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

    def bounds(self, grid: Grid, /) -> Bounds | None:
        """Return the range with the least mean squared error on the kept values, or None if nothing was seen."""
        if self.block is None:
            return None
        return mse_bounds(self.block[: self.filled].reshape(1, -1), grid, self.candidates, self.smallest)


def require_finite(x: torch.Tensor, /) -> None:
    """Raise ValueError if x holds NaN or infinite values."""
    low, high = x.detach().float().aminmax()
    if not torch.isfinite(high - low):
        raise ValueError("NaN or infinite values")
