"""What figures share: one style, one colour per source, one marker per family; no pyplot state; free of torch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from typing import Any, Literal

import matplotlib
import matplotlib.style
import numpy as np
import polars as pl
from fontTools import subset
from fontTools.ttLib import TTFont
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reliquant.report import sources
from reliquant.report.escaping import label
from reliquant.report.frames import Rows

WIDTHS = {1: 3.35, 2: 6.9}  # inches: one column, two columns
MARKERS = "os^DvPX<>hp*d"
NARROW = {"ncols": 2, "fontsize": 6.5, "columnspacing": 1.0, "handletextpad": 0.5}  # a legend of one text column
BIG = 2_000  # marks above which a layer is kept as pixels inside the vector file
INK = "#222222"
SHAPING = ("GDEF", "GPOS", "GSUB", "MATH", "kern")  # tables of a font that say how to set text in it
CANVASES: dict[str, tuple[type[FigureCanvasBase], dict[str, None]]] = {  # what draws a form, and what it leaves out
    "pdf": (FigureCanvasPdf, {"CreationDate": None, "Creator": None, "Producer": None}),
    "png": (FigureCanvasAgg, {}),
    "svg": (FigureCanvasSVG, {"Date": None}),
}


class NothingToDraw(ValueError):
    """The rows lack what a figure or table needs; the message says what, in words for the report's reader."""


@dataclass(frozen=True)
class Look:
    """How a source looks in every figure: a colour of its own lightness, a hatch for fills, and dashes for lines."""

    colour: str
    hatch: str
    dash: str | tuple[int, tuple[int, ...]]


DARK, LIGHT = Look("#0b4f8a", "", "-"), Look("#e69f00", "////", (0, (4, 1.5)))
SPARE = (
    Look("#009e73", "....", (0, (1, 1))),
    Look("#8c3b7a", "xx", (0, (5, 1, 1, 1))),
    Look("#56b4e9", "\\\\\\\\", (0, (2, 2))),
    Look("#8a8a8a", "++", (0, (6, 2))),
    Look("#3d3d3d", "oo", (0, (3, 1, 1, 1))),
)


def styled(figure: Callable[..., Figure], /) -> Callable[..., Figure]:
    """Run a figure in the project's style, whatever the style of the caller is."""

    @functools.wraps(figure)
    def run(*args: Any, **words: Any) -> Figure:
        with matplotlib.rc_context():
            matplotlib.style.use(str(files("reliquant").joinpath("report", "figures", "style.mplstyle")))
            return figure(*args, **words)

    return run


def save(figure: Figure, form: Literal["pdf", "png", "svg"], /) -> bytes:
    """Return the bytes of a file of the figure: what `save_all` returns for one form."""
    return save_all(figure, form)[0]


def save_all(figure: Figure, /, *forms: Literal["pdf", "png", "svg"]) -> list[bytes]:
    """Return the bytes of a file of the figure in each form: fonts embedded, no date, for one figure the same bytes.

    The figure is laid out once, as its PDF is, so that every form shows the same; matplotlib's own `savefig` would draw
    it twice for each of them.
    """
    engine, drawn_on, dpi = figure.get_layout_engine(), figure.canvas, figure.dpi
    with matplotlib.rc_context(), _unshaped_fonts():
        matplotlib.style.use(str(files("reliquant").joinpath("report", "figures", "style.mplstyle")))
        FigureCanvasPdf(figure)
        if engine is not None:
            engine.execute(figure)
        figure.set_layout_engine("none")
        try:
            return [_printed(figure, form) for form in forms]
        finally:
            figure.set_layout_engine(engine)
            figure.set_canvas(drawn_on)
            figure.dpi = dpi


@contextmanager
def _unshaped_fonts() -> Iterator[None]:
    """Embed fonts without the tables that shape text: in a PDF every glyph has its place already.

    fontTools, which cuts fonts down for matplotlib, would work through these tables for each file, a third of a
    report's time; matplotlib has no setting for it.
    """
    load = subset.load_font

    def load_unshaped(*args: Any, **words: Any) -> TTFont:
        font = load(*args, **words)
        for table in SHAPING:
            if table in font:
                del font[table]
        return font

    subset.load_font = load_unshaped
    try:
        yield
    finally:
        subset.load_font = load


def _printed(figure: Figure, form: Literal["pdf", "png", "svg"]) -> bytes:
    """Return the bytes of a file of a figure whose layout stands."""
    stream = BytesIO()
    figure.dpi = matplotlib.rcParams["savefig.dpi"]
    canvas, undated = CANVASES[form]
    getattr(canvas(figure), f"print_{form}")(stream, metadata=undated)
    return stream.getvalue()


def canvas(columns: Literal[1, 2], height: float, rows: int = 1, cols: int = 1, **words: Any) -> tuple[Figure, Any]:
    """Return a figure of one or two text columns and its axes as an array (rows, cols); `height` in inches."""
    figure = Figure(figsize=(WIDTHS[columns], height), layout="constrained")
    return figure, figure.subplots(rows, cols, squeeze=False, **words)


def looks(rows: Rows, /) -> dict[str, Look]:
    """Give each source of a study its look: a curated one dark blue, a noisy one light orange, others by their names.

    Further sources of these kinds get spare looks, as all others do, in the order of names.
    """
    names = _names(rows, "source")
    spare = iter(SPARE * len(names))
    curated, noisy = sources.foremost(names, "curated"), sources.foremost(names, "noisy")
    return {name: DARK if name == curated else LIGHT if name == noisy else next(spare) for name in names}


def hide_rest(axes: Any, drawn: int, /) -> None:
    """Hide the panels of a grid of axes after the first ones, which are drawn."""
    for ax in list(axes.flat)[drawn:]:
        ax.set_visible(False)


def markers(rows: Rows, column: str = "family", /) -> dict[str, str]:
    """Give each family (or scheme) of a study its marker, in the order of names."""
    names = [name for name in _names(rows, column) if name not in ("FP32", "fp32")]
    return dict(zip(names, MARKERS * len(names), strict=False))


def _names(rows: Rows, column: str) -> list[str]:
    """List the different words of a column in their order."""
    return sorted(str(word) for word in rows.lazy().select(pl.col(column).unique()).collect()[column].drop_nulls())


def tint(colour: str, share: float, /) -> tuple[float, ...]:
    """Mix a colour with white; share 1 keeps it."""
    return tuple(1 - share * (1 - c) for c in to_rgb(colour))


def shades(precisions: Iterable[str], /) -> dict[str, float]:
    """Give each precision, most bits first, a share of colour: full for the most bits, white for the fewest."""
    precisions = list(precisions)
    return dict(zip(precisions, np.linspace(1, 0, len(precisions)) if len(precisions) > 1 else [1.0], strict=True))


def key(axes: Axes | Figure, entries: Iterable[tuple[str, dict[str, Any]]], /, **words: Any) -> None:
    """Add a legend of entries made by hand: (label, properties of a line)."""
    handles = [Line2D([], [], **{"linestyle": "", **style}, label=label(text)) for text, style in entries]
    if handles:
        axes.legend(handles=handles, **words)


def counted(title: str, means: pl.DataFrame, /) -> str:
    """Return a panel's title with the images of a set behind its means, which are those of the run with most."""
    return f"{title}\nn = {int(means['n'].to_numpy().max()):,}"


def zero(axes: Axes, /, *, x: bool = False, y: bool = False) -> None:
    """Draw the line of no change."""
    if x:
        axes.axvline(0, color=INK, linewidth=0.7, zorder=1)
    if y:
        axes.axhline(0, color=INK, linewidth=0.7, zorder=1)


def errors(frame: pl.DataFrame, measure: str = "value", /, *, factor: float = 1.0) -> np.ndarray | None:
    """Return whiskers (2, n) around a column from its low and high columns; None where any is unknown."""
    low, high = ("low", "high") if measure == "value" else (f"{measure}_low", f"{measure}_high")
    if low not in frame.columns or frame[low].null_count() or frame[high].null_count():
        return None
    ends = np.stack([frame[measure] - frame[low], frame[high] - frame[measure]]) * factor
    return np.clip(ends, 0, None)
