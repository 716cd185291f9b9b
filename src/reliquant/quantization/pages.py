"""Where the memory of large tensors that come and go lies, so that a method's peak does not grow with its steps."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

M_MMAP_THRESHOLD = -3  # of malloc.h
SMALL, LARGE = 2**20, 2**22  # bytes: of a tensor in steps of learning, of a weight that is worked on as a whole
_asked = [2**25]  # bytes from which glibc is asked to do so, at last; the first is what it comes to by itself


@contextmanager
def pages_of_their_own(above: int, /) -> Iterator[None]:
    """Let glibc give each tensor of so many bytes pages of its own in the block, and take them back when it is gone.

    In its heap, tensors of many sizes that come and go leave holes: of a ViT-B a whole model's worth, in some runs more
    than in others. Other C libraries do as they do.
    """
    tune = _of_glibc("mallopt")
    if tune is None:
        yield
        return
    _asked.append(above)
    tune(M_MMAP_THRESHOLD, above)
    try:
        yield
    finally:
        _asked.pop()
        tune(M_MMAP_THRESHOLD, _asked[-1])


def give_back() -> None:
    """Let glibc give the holes of its heap back to the system: costs nothing where it is done once a block."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """Return a function of glibc; None where the C library is another one."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
