"""Make the pieces of a report one by one, in this process or in several; free of torch."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits

from reliquant.forking.workers import workers
from reliquant.report.frames import Rows

Made = TypeVar("Made")
Make = Callable[[Rows, str], Made]
FEWEST = 2  # pieces for which a process is worth its start

# The rows that a worker process makes pieces of. A pool can hand them to each of its processes once, when it starts it
# (`_hold`), and a process has no other place to keep them; as an argument they would be sent anew with every piece.
_HELD: list[Rows] = []


@contextmanager
def being_made(
    named: Sequence[tuple[Make[Made], str]], rows: Rows, processes: int, /
) -> Iterator[Callable[[], list[Made]]]:
    """Have each function called with the rows and its name, while the block does other work.

    The block gets a function that waits for what they make, and returns it in their order. That many processes make
    them, or fewer, so that each has two or more to make on average: its start takes as long. Where one is enough it is
    this one, which makes all of them when the block asks.
    """
    processes = min(processes, math.ceil(len(named) / FEWEST))
    if processes <= 1:
        yield lambda: [_tidied(make, rows, name) for make, name in named]
        return
    with workers(processes, _hold, rows) as pool:
        waiting = [pool.submit(_of_held, make, name) for make, name in named]
        yield lambda: [each.result() for each in waiting]


def _hold(rows: Rows) -> None:
    """Keep the rows in a worker process that has just started.

    A matrix product has one thread there: the threads of several processes would wait for one another.
    """
    threadpool_limits(1)
    _HELD.append(rows)


def _of_held(make: Make[Made], name: str) -> Made:
    """Make one piece in a worker process."""
    return _tidied(make, _HELD[0], name)


def _tidied(make: Make[Made], rows: Rows, name: str) -> Made:
    """Make one piece and collect what it leaves behind once, at its end.

    While matplotlib makes its thousands of objects that refer to one another, Python would look for those that nobody
    needs again and again, among all objects that there are.
    """
    collects = gc.isenabled()
    gc.freeze()
    gc.disable()
    try:
        return make(rows, name)
    finally:
        gc.collect()
        gc.unfreeze()
        if collects:
            gc.enable()
