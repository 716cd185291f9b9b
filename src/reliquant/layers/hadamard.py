"""Hadamard matrices of the widths that towers have, as Kronecker products of small ones."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

PALEY = {12: 11, 20: 19, 24: 23, 28: 13, 36: 17, 44: 43, 60: 59}  # order -> prime of its construction
LARGEST = 32  # order of one power-of-two factor


@lru_cache(maxsize=64)
def _factors(width: int) -> tuple[torch.Tensor, ...]:
    odd = width >> ((width & -width).bit_length() - 1)
    order = 1 if odd == 1 else next((m for m in PALEY if width % m == 0 and _power_of_two(width // m)), 0)
    if not order:
        return ()
    left, orders = width // order, [order] if order > 1 else []
    while left > 1:  # a power of two, in factors of about equal size and at most LARGEST
        take = min(left, LARGEST if left >= LARGEST * LARGEST or left <= LARGEST else 1 << (left.bit_length() // 2))
        orders.append(take)
        left //= take
    matrices = (hadamard(m) / m**0.5 for m in orders or [1])
    return tuple(torch.tensor(m, dtype=torch.float32) for m in matrices)


def orthogonal_factors(width: int, /) -> list[torch.Tensor]:
    """Return small orthogonal matrices whose Kronecker product is a Hadamard matrix over sqrt(width); [] if unknown.

    >>> [len(f) for f in orthogonal_factors(768)]
    [12, 8, 8]
    >>> orthogonal_factors(7)
    []
    """
    return list(_factors(width))


def hadamard(order: int, /) -> np.ndarray:
    """Return a Hadamard matrix, (order, order) of +-1 with orthogonal rows: Sylvester's or Paley's.

    Raises ValueError for an order that is neither a power of two nor a key of PALEY.
    """
    if _power_of_two(order):
        matrix = np.ones((1, 1))
        while len(matrix) < order:
            matrix = np.block([[matrix, matrix], [matrix, -matrix]])
        return matrix
    if order not in PALEY:
        raise ValueError(f"no Hadamard matrix of order {order} is known here; there are powers of two and {[*PALEY]}")
    prime = PALEY[order]
    squares = {i * i % prime for i in range(1, prime)}
    chi = np.array([0] + [1 if i in squares else -1 for i in range(1, prime)])
    jacobsthal = chi[np.subtract.outer(np.arange(prime), np.arange(prime)) % prime]
    border = np.zeros((prime + 1, prime + 1))
    border[0, 1:], border[1:, 1:] = 1, jacobsthal
    if prime % 4 == 3:  # Paley I: I + S, S skew
        border[1:, 0] = -1
        return np.eye(order) + border
    border[1:, 0] = 1  # Paley II: S symmetric with zero diagonal
    return np.kron(border, [[1, 1], [1, -1]]) + np.kron(np.eye(prime + 1), [[1, -1], [-1, -1]])


def _power_of_two(n: int) -> bool:
    return n & (n - 1) == 0
