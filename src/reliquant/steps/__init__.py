"""Thin command lines, one per rule of the workflow: each parses, loads, makes one call and saves."""

from __future__ import annotations

import sys
from collections.abc import Callable


def run(step: Callable[[], None], /) -> None:
    """Run a step; an error that a user can mend (bad input, missing file, no space) is one line and exit code 1."""
    try:
        step()
    except (ValueError, OSError, ArithmeticError) as error:
        sys.exit(f"error: {error}")
