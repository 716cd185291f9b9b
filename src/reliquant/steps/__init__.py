"""Thin command lines, one a rule: parse, load, one call, save."""

from __future__ import annotations

import sys
from collections.abc import Callable


def run(step: Callable[[], None], /) -> None:
    """Run a step; turn what a user can mend (bad input, missing file, no space) into one line and exit code 1."""
    try:
        step()
    except (ValueError, OSError, ArithmeticError) as error:
        sys.exit(f"error: {error}")
