"""Progress of long work: a bar on a terminal, one line a minute in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def say(about: str, line: str, /) -> None:
    """Say on stderr, a terminal or a log, what was assumed or passed over on the way to a result."""
    print(f"{about}: {line}", file=sys.stderr, flush=True)


def progress(items: Iterable[Item], /, *, label: str, total: int | None = None, every: float = 60.0) -> Iterator[Item]:
    """Yield the items and report how far we are on stderr: a bar on a terminal, else a line each `every` seconds."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        yield from tqdm(items, desc=label, total=total)
        return
    start = said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said >= every:
            said = now
            left = f", {(now - start) / done * (total - done):.0f} s left" if total else ""
            print(f"{label}: {done}/{total or '?'} in {now - start:.0f} s{left}", file=sys.stderr, flush=True)
