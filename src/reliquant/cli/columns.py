"""Text in columns for a terminal: aligned where the window is wide enough, cell by cell below one another where not."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence

NARROWEST = 20  # columns that text is wrapped to at least
INDENT = "    "


def window() -> int | None:
    """Return the width of the window that is written to, or None in a pipe or a file, where lines have no limit.

    The environment variable COLUMNS, where it is set, is the width in both.
    """
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        return None
    return max(shutil.get_terminal_size().columns, NARROWEST)


def columns(
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    /,
    *,
    right: Collection[str] = (),
    width: int | None = None,
    narrow: Sequence[Sequence[str]] | None = None,
) -> list[str]:
    """Lay out lines of cells below a head; the columns named `right` are aligned at their right ends.

    A line with fewer cells than the head has ends with the last of them, which may be wider than its column. Where the
    whole is wider than `width`, each line becomes its first cell, and below it, indented, the others with their heads;
    `narrow` are the cells of each line there, where they are not the same.

    >>> print(*columns(["name", "bits"], [["rtn", "4"], ["gptq", "16"]], right=["bits"]), sep=chr(10))
    name  bits
    rtn      4
    gptq    16
    """
    table = [list(head), *map(list, lines)]
    in_columns = [line if len(line) == len(head) else line[:-1] for line in table]
    wide = [max(len(cells[i]) for cells in in_columns if len(cells) > i) for i in range(len(head))]
    aligned = []
    for line, cells in zip(table, in_columns, strict=True):
        placed = [cell.rjust(wide[i]) if head[i] in right else cell.ljust(wide[i]) for i, cell in enumerate(cells)]
        aligned.append("  ".join([*placed, *line[len(cells) :]]).rstrip())
    if width is None or max(map(len, aligned)) <= width:
        return aligned
    return [part for line in narrow or lines for part in _stacked(head, line, width)]


def _stacked(head: Sequence[str], line: Sequence[str], width: int) -> list[str]:
    """Lay out one line over several: its first cell, then the others that say something, each with its head."""
    told = [f"{name} {cell}" for name, cell in zip(head[1:], line[1:], strict=False) if cell]
    below = textwrap.wrap(", ".join(told), width, initial_indent=INDENT, subsequent_indent=INDENT)
    return [*textwrap.wrap(line[0], width, subsequent_indent=INDENT), *below]
