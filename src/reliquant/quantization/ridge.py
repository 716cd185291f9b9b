"""Closed forms of ERQ (Zhong et al. 2024): ridge regression against the errors of inputs and of weights.

x are a layer's inputs, x' the same rounded, both with a 1 behind them that stands for the bias; the weight (o, d) has
its bias as the last column, (o, d + 1). All that is needed of the data are the sums of x' x'^T and (x - x') x'^T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from reliquant.grid import Grid

Rounding = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class Errors:
    """Add up x' x'^T (d + 1, d + 1) and (x - x') x'^T (d, d + 1) over the rows x of a Linear's input."""

    rounding: Rounding
    count: int = 0
    gram: torch.Tensor | None = None
    cross: torch.Tensor | None = None

    def update(self, x: torch.Tensor, /) -> None:
        """Take one batch of inputs (..., d) into account; raise ValueError on NaN or infinite values."""
        rows = x.detach().float().flatten(0, -2)
        if not torch.isfinite(rows.sum()):
            raise ValueError("NaN or infinite values")
        near = torch.cat([self.rounding(x.detach()).float().flatten(0, -2), rows.new_ones(len(rows), 1)], 1)
        if self.gram is None:
            width = near.shape[1]
            self.gram, self.cross = rows.new_zeros(width, width), rows.new_zeros(width - 1, width)
        self.gram += near.T @ near
        self.cross += (rows - near[:, :-1]).T @ near
        self.count += len(rows)

    def penalty(self, ridge: float, /) -> float:
        """Return the lambda that is a share of the mean diagonal of x' x'^T, without the bias."""
        return ridge * self.gram.diagonal()[:-1].mean().item() or 1.0


@torch.no_grad()
def against_inputs(weight: torch.Tensor, seen: Errors, ridge: float, /) -> torch.Tensor:
    """Return the weight (o, d + 1) with the least squared error on rounded inputs (Aqer).

    It adds dW = W E[(x - x') x'^T] (E[x' x'^T] + lambda I)^-1, which solves min |W x - (W + dW) x'|^2 + lambda |dW|^2.
    """
    return weight + _solved(seen.gram, seen.penalty(ridge), (weight[:, :-1] @ seen.cross).T).T


@torch.no_grad()
def against_weights(
    weight: torch.Tensor,
    gram: torch.Tensor,
    penalty: float,
    scales: torch.Tensor,
    zeros: torch.Tensor,
    grid: Grid,
    flips: int,
    /,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round a weight (o, d + 1) half by half, each time correcting what is left (Wqer); return codes (o, d) and bias.

    Of the columns that are left the first half is rounded, the directions of rounding are refined, and the error e is
    taken out by ridge regression of the others: dW_r = -e E[x'_s x'_r^T] (E[x'_r x'_r^T] + lambda I)^-1. The bias is
    never rounded. `scales` and `zeros` are (o, d); codes come as floating-point numbers.
    """
    now, width = weight.clone(), weight.shape[1]
    codes = torch.empty_like(scales)
    start = 0
    while width - start > 1:
        stop = start + (width - start) // 2
        part = slice(start, stop)
        codes[:, part] = refined(now[:, part], gram[part, part], scales[:, part], zeros[:, part], grid, flips)
        error = (codes[:, part] - zeros[:, part]) * scales[:, part] - now[:, part]
        now[:, stop:] -= _solved(gram[stop:, stop:], penalty, gram[stop:, part] @ error.T).T
        start = stop
    return codes, now[:, -1].clone()  # a view would keep the whole weight


@torch.no_grad()
def refined(
    weight: torch.Tensor, gram: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, grid: Grid, flips: int, /
) -> torch.Tensor:
    """Return codes of a weight (o, n) that are rounded up or down so that their output error is small.

    From the nearest codes on, each row flips the weight with the largest gradient of e E[x' x'^T] e^T among those whose
    error e has the gradient's sign, as long as that lowers the row's error, and at most `flips` times.
    """
    ratio = weight / scale + zero
    low, high = (edge.clamp(grid.low, grid.high) for edge in (ratio.floor(), ratio.ceil()))
    codes = ratio.round().clamp(grid.low, grid.high)
    error = (codes - zero) * scale - weight
    step = (low + high - 2 * codes) * scale  # what the other code would add to the error
    slope = error @ gram
    rows = torch.arange(len(weight), device=weight.device)
    for _ in range(0 if weight.is_meta else flips):
        wanted = (slope[rows].abs()).masked_fill_((slope * error)[rows] <= 0, 0).masked_fill_(step[rows] == 0, 0)
        largest, column = wanted.max(1)
        by = step[rows, column]
        change = by * (2 * slope[rows, column] + by * gram.diagonal()[column])
        better = (largest > 0) & (change < 0)
        rows, column, by = rows[better], column[better], by[better]
        if not len(rows):
            break
        codes[rows, column] += by.sign()
        error[rows, column] += by
        step[rows, column] = -by
        slope[rows] += by[:, None] * gram[column]
    return codes


def _solved(gram: torch.Tensor, penalty: float, right: torch.Tensor) -> torch.Tensor:
    """Return (gram + penalty I)^-1 right, in float64 and then in the type of `right`."""
    damped = gram.double()
    damped.diagonal().add_(penalty)
    return torch.cholesky_solve(right.double(), torch.linalg.cholesky(damped)).to(right.dtype)
