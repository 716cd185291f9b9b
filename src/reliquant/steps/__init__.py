"""Thin command lines, one per rule of the workflow: each parses, loads, makes one call and saves."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from reliquant.progress import one_line_errors

if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while a step is still being imported leaves no traceback


def run(step: Callable[[], None], /) -> None:
    """Run a step; an error (bad input, missing file, no space) is one line and exit code 1."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with one_line_errors():
        step()
