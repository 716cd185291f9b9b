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

if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while a step is still being imported leaves no traceback


def run(step: Callable[[], None], /) -> None:
    """Run a step; an error (bad input, missing file, no space) is one line and exit code 1."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with one_line_errors():
        step()
        if os.environ.get(USED):
            from reliquant.deploy.machine import used

            say("used", used())
