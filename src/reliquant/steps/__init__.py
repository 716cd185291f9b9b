"""Thin command lines, one per rule of the workflow: each parses, loads, makes one call and saves."""

from __future__ import annotations

import os
import sys

from reliquant.forking import client

client.hand_over()  # nothing else is imported before: where a fork server runs the step, it is not needed here

import signal  # noqa: E402
from collections.abc import Callable  # noqa: E402

from reliquant.progress import one_line_errors, say  # noqa: E402

USED = "RELIQUANT_USED"  # an environment variable: anything but empty has a step say at its end what it used

AS_PROGRAM = sys.argv[:1] == ["-m"]  # by `python -m`, which has not found the step's file yet

if AS_PROGRAM and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while a step is still being imported leaves no traceback


def run(step: Callable[[], None], /, *, last: bool = AS_PROGRAM) -> None:
    """Run a step; an error (bad input, missing file, no space) is one line and exit code 1.

    With `last` the process ends with it, and being asked to end (SIGTERM) afterwards makes no failure of it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with one_line_errors(last=last):
        step()
        if os.environ.get(USED):
            from reliquant.deploy.machine import used

            say("used", used())
