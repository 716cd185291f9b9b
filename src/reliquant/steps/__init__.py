"""Thin command lines, one per rule of the workflow: each parses, loads, makes one call and saves."""

from __future__ import annotations

from collections.abc import Callable

from reliquant.progress import one_line_errors


def run(step: Callable[[], None], /) -> None:
    """Run a step; an error (bad input, missing file, no space) is one line and exit code 1."""
    with one_line_errors():
        step()
