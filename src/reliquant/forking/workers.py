"""A pool of processes that work for this one: they leave Ctrl-C to it, and end with it however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

PR_SET_PDEATHSIG = 1
Prepare = Callable[..., None]


@contextmanager
def workers(processes: int, prepare: Prepare | None = None, /, *given: Any) -> Iterator[ProcessPoolExecutor]:
    """Give the block a pool of so many processes; each calls `prepare`, if any, with what is `given` before its work.

    They are spawned, not forked: polars' threads do not survive a fork. When the block ends they have ended, too: if it
    fails, work that has not begun is never done.
    """
    words = (os.getpid(), prepare, given)
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin, initargs=words) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin(parent: int, prepare: Prepare | None, given: tuple[Any, ...]) -> None:
    """Make this process, which has just started, a worker of its parent."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a stop ends it without a traceback; the parent tells of it
    end_with_parent()
    if os.getppid() != parent:  # which ended before
        os._exit(1)
    if prepare is not None:
        prepare(*given)


def end_with_parent() -> None:
    """Have this process killed when the one that started it ends; on Linux alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
