"""Ranges that leave out part of the values: by percentile, or by the least mean squared error."""

from __future__ import annotations

from collections.abc import Callable

import torch

from reliquant.grid import Grid
from reliquant.layers.arithmetic import affine, blocks, rounded

Edges = tuple[torch.Tensor, torch.Tensor]
NARROW = 0.2  # of a row's full range: at few bits rows with heavy tails are best below it
CHUNK = 2**17  # numbers of a row searched at a time, because a search copies them with an index for each


def percentile_bounds(rows: torch.Tensor, percent: float, grid: Grid, /) -> Edges:
    """Return the range, each (rows, 1), that holds `percent` of the values of each row (rows, k).

    For symmetric grids that is the percentile of the absolute values; for others the percentile and its mirror below.
    It is a value of the row (the nearest rank), never interpolated.

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


def mse_bounds(rows: torch.Tensor, grid: Grid, candidates: int, smallest: float, /) -> Edges:
    """Return the range, each (rows, 1), whose grid has the least mean squared error on each row (rows, k).

    It tries `candidates` evenly spaced shares of each row's full range, from 1 to NARROW, and half as many more from
    there to `smallest`, each by the same factor below the one before; the former end at `smallest` if that is larger.
    """
    low, high = (edge[:, None] for edge in rows.aminmax(dim=1))
    if grid.symmetric:
        high = torch.maximum(-low, high)
        low = -high
    best = torch.full_like(high, torch.inf)
    share = torch.ones_like(high)
    for candidate in _shares(candidates, smallest)[: 1 if rows.is_meta else None]:  # shapes are those of the first
        scale, zero = affine(low * candidate, high * candidate, grid)
        error = rounded(rows, scale, zero, grid).sub_(rows).square_().sum(1, keepdim=True)
        better = error < best
        best, share = torch.where(better, error, best), share.masked_fill(better, candidate)
    return low * share, high * share


def _shares(candidates: int, smallest: float) -> list[float]:
    """List the shares that `mse_bounds` tries, largest first."""
    even = torch.linspace(1, max(smallest, NARROW), candidates).tolist()
    more = -(-candidates // 2) if smallest < NARROW else 0
    return even + [NARROW * (smallest / NARROW) ** (i / more) for i in range(1, more + 1)]


def weight_rows(weight: torch.Tensor, grid: Grid, /) -> torch.Tensor:
    """View a weight as float32 rows (rows, k), one per scale."""
    return blocks(weight.detach().float(), grid)
