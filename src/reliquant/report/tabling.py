"""What tables share: marked cells, and a frame as csv, Markdown, LaTeX and HTML; free of torch.

A table plugin returns a frame of display cells. `**x**` marks the best of a column; a cell without a value is empty.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from reliquant.measures.stats import holm
from reliquant.report import escaping, frames
from reliquant.report.evidence import FREEDOM

Cell = str | int | float | None
Where = Callable[[str, Mapping[str, Any]], Mapping[str, str] | None]
POINTS, SQUARES = 100.0, 10_000.0  # of a fraction; of a squared error, in points squared
LEGEND = (
    "Bold: best of the column. In brackets: 95 % interval; without one, a value is as published and has no test. *, "
    "**, ***: p < .05, .01, .001, after Holm's correction for the number of tests in the table."
)


def number(value: float | None, /, *, factor: float = 100.0, digits: int = 1, sign: bool = False) -> str:
    """Write a number, in points by default; nothing for an unknown one.

    >>> number(0.1234), number(-0.02, sign=True), number(-1e-9, sign=True), number(-1e-9, digits=0), number(None)
    ('12.3', '-2.0', '0.0', '0', '')
    """
    if value is None or value != value:
        return ""
    text = f"{value * factor:{'+' if sign else ''}.{digits}f}"
    return text.lstrip("-") if float(text) == 0 and digits < 2 else text


def changes(
    frame: pl.DataFrame, columns: Iterable[str], /, *, factors: Mapping[str, float] | None = None
) -> pl.DataFrame:
    """Write the changes of a table, structs of value, low and high, with intervals and stars.

    The p-values are those of `Change`, corrected for the number of changes with an interval in these columns (Holm
    1979). `factors` are what the values of some columns are multiplied by, where they are no fractions.

    >>> cells = [{"value": -0.02, "low": -0.03, "high": -0.01}, {"value": 0.01, "low": -0.01, "high": 0.03}]
    >>> changes(pl.DataFrame({"a": cells}), ["a"])["a"].to_list()
    ['-2.0 [-3.0, -1.0]***', '+1.0 [-1.0, +3.0]']
    """
    names = list(columns)
    cells = {name: [Change(**(cell or {})) for cell in frame[name].to_list()] for name in names}
    corrected = iter(holm([cell.p for name in names for cell in cells[name]]))
    written, by_column = [], factors or {}
    for name in names:
        texts = [_written(cell, next(corrected), by_column.get(name, POINTS)) for cell in cells[name]]
        written.append(pl.Series(name, texts, dtype=pl.String))
    return frame.with_columns(written)


@dataclass(frozen=True)
class Change:
    """A change with its 95 % interval and its degrees of freedom; None is unknown.

    The freedom is never above that of a spread over the resamples that rows keep: far out, where the corrected p-values
    of a large table lie, the normal approximation would see too much.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    freedom: float = float("inf")

    @property
    def p(self) -> float:
        """The p-value of no change, not corrected; NaN where the interval is unknown."""
        return frames.p_value(self.value, self.low, self.high, min(self.freedom, FREEDOM))


def corrected(means: pl.DataFrame, /) -> NDArray[np.float64]:
    """Return the p-values of the means of a figure, corrected for the number of those with an interval (Holm 1979).

    `means` are as of `frames.mean_of_runs`; a mean without an interval has NaN.

    >>> lines = {"value": [1.0, 1.0], "low": [0.1, None], "high": [1.9, None], "freedom": [9.0, 9.0]}
    >>> corrected(pl.DataFrame(lines)).round(3)
    array([0.033,   nan])
    """
    return holm([Change(*cell).p for cell in means.select("value", "low", "high", "freedom").iter_rows()])


def _written(change: Change, p: float, factor: float) -> str:
    """Write a change times a factor with its interval, and with stars for its corrected p-value."""
    value, low, high = (number(end, factor=factor, sign=True) for end in (change.value, change.low, change.high))
    return f"{value} [{low}, {high}]{frames.marked(p)}" if value and low and high else value


def best(frame: pl.DataFrame, column: str, /, *, highest: bool, by: tuple[str, ...] = ()) -> pl.DataFrame:
    """Mark the best cells of a column of written numbers, within each group of `by`."""
    value = pl.col(column).str.extract(r"^([-+]?[\d.]+)").cast(pl.Float64, strict=False)
    top = value.max() if highest else value.min()
    top, several = (top.over(by), pl.len().over(by) > 1) if by else (top, pl.len() > 1)
    marked = pl.format("**{}**", column)
    return frame.with_columns(pl.when((value == top) & several).then(marked).otherwise(column).alias(column))


def to_csv(frame: pl.DataFrame, /) -> str:
    """Write a table as csv, without marks; a text that begins like a formula has ' before it."""
    return escaping.csv(frame.with_columns(pl.col(pl.String).str.replace_all(escaping.MARKED, "$1")))


def to_markdown(frame: pl.DataFrame, title: str, note: str, /) -> str:
    """Write a table as Markdown with its title and note."""
    head = [escaping.markdown(name) for name in frame.columns]
    lines = [head, ["---"] * frame.width, *_cells(frame, escaping.markdown)]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"### {escaping.markdown(title)}\n\n{rows}\n\n{escaping.markdown(f'{note} {LEGEND}')}\n"


def to_latex(frame: pl.DataFrame, title: str, note: str, name: str, /) -> str:
    r"""Write a table as LaTeX for booktabs and longtable, so that it may break over pages; `\input` it."""
    texts = [c for c in frame.columns if frame[c].dtype == pl.String and not frame[c].str.contains(r"^\W*\d").any()]
    align = "".join("l" if c in texts else "r" for c in frame.columns)
    tex = escaping.latex
    head = escaping.latex_line([tex(c) for c in frame.columns])
    body = "\n".join(escaping.latex_line(line) for line in _cells(frame, tex, r"\textbf{{{}}}"))
    caption = rf"\caption{{{tex(title)}. {tex(note)} {tex(LEGEND)}}}\label{{tab:{name}}}\\"
    return (
        f"% needs booktabs and longtable\n{{\\footnotesize\n\\begin{{longtable}}{{{align}}}\n{caption}\n"
        f"\\toprule\n{head}\n\\midrule\n\\endfirsthead\n\\toprule\n{head}\n\\midrule\n\\endhead\n\\bottomrule\n"
        f"\\endfoot\n{body}\n\\end{{longtable}}}}\n"
    )


def to_html(frame: pl.DataFrame, /, where: Where | None = None, href: str = "") -> str:
    """Write a table's rows as HTML; cells sort by their leading number.

    `where` names the rows behind a cell, given its column and line; such a cell links to `href`, the file that holds
    them, and carries what they have in common.
    """
    head = "".join(f"<th>{html.escape(c)}</th>" for c in frame.columns)
    body = ""
    for line in frame.iter_rows(named=True):
        cells = (_html_cell(v, where(c, line) if where else None, href) for c, v in line.items())
        body += f"<tr>{''.join(cells)}</tr>\n"
    return f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>"


def _cells(frame: pl.DataFrame, escape: Callable[[str], str], bold: str = "**{}**") -> list[list[str]]:
    """Write the cells of a table line by line, the marked ones bold."""

    def cell(value: Cell) -> str:
        text = "" if value is None else str(value)
        marked = _marked(text)
        return bold.format(escape(marked)) if marked is not None else escape(text)

    return [[cell(v) for v in line] for line in frame.iter_rows()]


def _marked(text: str) -> str | None:
    """Return what stands between the marks of a best cell; None of other cells."""
    match = re.fullmatch(r"\*\*([^*].*?)\*\*", text, re.S)
    return match[1] if match else None


def _html_cell(value: Cell, where: Mapping[str, str] | None = None, href: str = "") -> str:
    """Write a cell with what it sorts by, and with a link where it has rows behind it."""
    text = "" if value is None else str(value)
    shown = _marked(text)
    number = re.match(r"[-+]?[\d.]+(?![\w-])", shown if shown is not None else text)
    order = f' data-order="{float(number[0])}" class="number"' if number and _is_number(number[0]) else ""
    inner = f"<b>{html.escape(shown)}</b>" if shown is not None else html.escape(text)
    if where and text:
        words = html.escape(json.dumps(dict(where), sort_keys=True))
        inner = f'<a class="behind" href="{html.escape(href)}" data-where="{words}">{inner}</a>'
    return f"<td{order}>{inner}</td>"


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)", text))
