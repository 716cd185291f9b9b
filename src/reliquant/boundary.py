"""The boundary to people: an error is one line that they can act on; a traceback comes only where it is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

DEBUG = "RELIQUANT_DEBUG"  # an environment variable: anything but empty asks for tracebacks
OURS = (ValueError, OSError, ArithmeticError)  # messages of these are written for people
LONGEST = 1500  # characters of a message; what libraries add to theirs may fill pages


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
