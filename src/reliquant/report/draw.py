"""Draw one figure, or make one table, of rows: what a notebook calls."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.figure import Figure

from reliquant import plugins
from reliquant.report.frames import Rows


def draw_figure(rows: Rows, name: str, /, **words: Any) -> Figure:
    """Draw a figure of the report, such as `accuracy_by_bits`, in the report's style.

    `words` are the figure's own. Raises ConfigError for an unknown name or word, and `plotting.NothingToDraw` where the
    rows do not hold what the figure shows.
    """
    return plugins.load("figure", {"figure": name, **words})(rows)


def make_table(rows: Rows, name: str, /, **words: Any) -> pl.DataFrame:
    """Make a table of the report, such as `main`. Raises ConfigError for an unknown name or word."""
    return plugins.load("table", {"table": name, **words})(rows)
