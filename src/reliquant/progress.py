"""What a person sees of a command on stderr: how far it is, what it assumed, and an error as one line."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
DEBUG = "RELIQUANT_DEBUG"  # an environment variable: anything but empty asks for tracebacks
OURS = (ValueError, OSError, ArithmeticError)  # messages of these are written for people
LONGEST = 1500  # characters of a message; what libraries add to theirs may fill pages


def say(about: str, line: str, /) -> None:
    """Say on stderr, a terminal or a log, what was assumed or passed over on the way to a result."""
    print(f"{about}: {line}", file=sys.stderr, flush=True)


def progress(items: Iterable[Item], /, *, label: str, total: int | None = None, every: float = 60.0) -> Iterator[Item]:
    """Yield the items and report how far we are on stderr: a bar on a terminal, else one line every `every` seconds."""
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


@contextmanager
def one_line_errors(command: str = "", /, *, debug: bool = False) -> Iterator[None]:
    """End the process with `<command>: error: <message>` and exit code 1 when the block raises, but not on `debug`.

    An error that none of our own checks foresaw, of a library or a fault of ours, says its type too, and how to see
    more. What is no error (Ctrl-C, an exit) passes.
    """
    start = f"{command}: " if command else ""
    try:
        yield
    except Exception as error:
        if debug or os.environ.get(DEBUG):
            raise
        sys.exit(f"{start}error: {message_of(error)}")
    except BaseException as error:
        if type(error).__name__ != "PanicException" or debug or os.environ.get(DEBUG):  # polars' own, no Exception
            raise
        sys.exit(f"{start}error: {message_of(error)}")


def message_of(error: BaseException, /) -> str:
    """Return an error as people read it: on one line, and not longer than a screen; a config's problems, a line each.

    >>> message_of(KeyError("c"))
    "KeyError: 'c' (--debug, or RELIQUANT_DEBUG=1, shows where)"
    """
    lines = getattr(error, "problems", None) or [str(error)]
    text = "\n".join(" ".join(str(line).split()) for line in lines)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ... ({len(text)} characters)"
    if isinstance(error, OURS):
        return text
    return f"{type(error).__name__}: {text} (--debug, or {DEBUG}=1, shows where)"
