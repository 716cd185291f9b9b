"""Order the nearest of a coarse search anew by a finer similarity; free of torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reliquant.measures.pair_products import similarities
from reliquant.measures.retrieval import Task
from reliquant.measures.search import Found


def rescored(found: Found, fine: Task, shortlist: int, /) -> Found:
    """Return what is found where the first `shortlist` places are ordered by the products of another task's queries.

    What is not among them stays behind, in the order of the coarse search. Similarities are then of two kinds, so that
    none of the two can be told from the other: they order, and no more. `best` is minus infinity where no right answer
    is among the first places.
    """
    top = found.top[:, :shortlist]
    rows = np.repeat(np.arange(len(top)), top.shape[1])
    again = similarities(fine.query, fine.gallery, rows, top.ravel()).reshape(top.shape)
    order = np.lexsort((top, -again), axis=1)
    right = np.take_along_axis(found.right[:, :shortlist], order, 1)
    again, top = np.take_along_axis(again, order, 1), np.take_along_axis(top, order, 1)
    best = np.where(right, again, -np.inf).max(axis=1)
    there = right.any(axis=1)
    above = np.maximum(found.above, top.shape[1])
    level = np.where(there, (again == best[:, None]).sum(axis=1), found.above + found.level - above)
    level_right = np.where(there, (right & (again == best[:, None])).sum(axis=1), found.level_right)
    return replace(
        found,
        top=top,
        similarity=again,
        right=right,
        beyond=np.zeros_like(found.beyond),
        beyond_right=np.zeros_like(found.beyond_right),
        best=best,
        above=np.where(there, (again > best[:, None]).sum(axis=1), above),
        level=level,
        level_right=level_right,
    )
