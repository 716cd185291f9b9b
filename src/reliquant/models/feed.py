"""Bring images to a GPU while it computes: threads read the next batches, and copies run beside the forward."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

SLOTS = 3  # batches in memory: one is copied to the GPU while the readers fill the others
READERS = 2  # one thread reads and checks some 20,000 images a second of 224 x 224 pixels
Moved = TypeVar("Moved")


def on_device(images: NDArray[np.uint8], batch: int, device: str, /) -> Iterator[torch.Tensor]:
    """Yield images (n, h, w, c) in order as batches (b, h, w, c) on a device, in memory that is the receiver's own."""
    place = torch.device(device)
    if place.type == "cuda" and len(images) > batch:
        stream = torch.cuda.Stream(place)
        yield from read_ahead(images, batch, lambda pixels: _copied(pixels, place, stream), pinned=True)
        return
    for start in range(0, len(images), batch):
        yield torch.from_numpy(np.array(images[start : start + batch])).to(place)  # a writable copy


def read_ahead(
    images: NDArray[np.uint8],
    batch: int,
    take: Callable[[torch.Tensor], tuple[Moved, Callable[[], None]]],
    /,
    *,
    pinned: bool = False,
) -> Iterator[Moved]:
    """Yield what `take` makes of each batch (b, h, w, c), in order, while threads read the batches that follow.

    Batches lie in `SLOTS` pieces of memory in turn; `take` also returns what waits until its piece may be written
    again. When the iterator ends, is closed or raises, the threads have ended too; an error of theirs is raised in the
    place of the batch that they could not read.
    """
    starts = range(0, len(images), batch)
    slots = [torch.empty(batch, *images.shape[1:], dtype=torch.uint8, pin_memory=pinned) for _ in starts[:SLOTS]]
    free: list[Callable[[], None]] = [lambda: None] * len(slots)

    def read(number: int) -> torch.Tensor:
        part = images[starts[number] : starts[number] + batch]
        slot = slots[number % len(slots)][: len(part)]
        free[number % len(slots)]()
        np.copyto(slot.numpy(), part)
        return slot

    readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
    try:
        coming = deque(readers.submit(read, number) for number in range(len(slots)))
        for number in range(len(starts)):
            moved, free[number % len(slots)] = take(coming.popleft().result())
            if number + len(slots) < len(starts):
                coming.append(readers.submit(read, number + len(slots)))
            yield moved
    finally:
        readers.shutdown(cancel_futures=True)


def _copied(
    pixels: torch.Tensor, device: torch.device, stream: torch.cuda.Stream
) -> tuple[torch.Tensor, Callable[[], None]]:
    """Copy pinned pixels to a GPU on a stream of their own; the current stream waits, not this thread."""
    with torch.cuda.stream(stream):
        there = pixels.to(device, non_blocking=True)
        done = torch.cuda.Event(blocking=True)
        done.record(stream)
    current = torch.cuda.current_stream(device)
    current.wait_event(done)
    there.record_stream(current)  # its memory is not given away before what comes now has read it
    return there, done.synchronize


def arrays(tensors: Iterator[torch.Tensor], /) -> Iterator[NDArray[np.float32]]:
    """Yield float32 tensors as arrays; those of a GPU one behind, so that it is at the next when this thread waits."""
    waiting: deque[Callable[[], NDArray[np.float32]]] = deque()
    for tensor in tensors:
        waiting.append(_leaving(tensor))
        if len(waiting) > 1:
            yield waiting.popleft()()
    for arrived in waiting:
        yield arrived()


def _leaving(tensor: torch.Tensor) -> Callable[[], NDArray[np.float32]]:
    """Begin to copy a tensor to the CPU; return what waits for the copy and returns it."""
    if not tensor.is_cuda:
        return tensor.numpy
    here = tensor.to("cpu", non_blocking=True)  # into pinned memory
    done = torch.cuda.Event(blocking=True)
    done.record(torch.cuda.current_stream(tensor.device))

    def arrived() -> NDArray[np.float32]:
        done.synchronize()
        return here.numpy().copy()

    return arrived
