"""Pictures that are drawn when the site is built, from the results that they show; none is committed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parents[1]
MADE = "pictures/made"  # below docs/, ignored by git
BLUE, GREY, RED = "#1f5fa8", "#5a5a5a", "#b3362b"
MARGIN = 1.0  # points: `equivalence` of a config, unless it says another
COLUMNS = (4.4, 8.6)  # where the verdicts on each claim stand
VERDICTS = (  # low, high, what a report says of "it falls", and of "it does not change"
    (-4.2, -1.4, "supported", "contradicted"),
    (-2.6, -0.3, "supported", "too small to tell"),
    (-0.7, 0.6, "contradicted:\ntoo small to matter", "supported"),
    (-2.4, 1.6, "too small to tell", "too small to tell"),
    (0.4, 3.1, "contradicted", "too small to tell"),
)


def picture(name: str) -> str:
    """Draw a picture and return the Markdown that shows it."""
    draw, told = PICTURES[name]
    folder = DOCS / MADE
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "reliquant", "svg.fonttype": "path", "font.size": 10}):
        draw().savefig(folder / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
    return f"![{told}]({MADE}/{name}.svg)"


def coverage() -> Figure:
    """Draw the coverage of every cell of docs/results/coverage_table.md by number of images."""
    cells = re.findall(
        r"^\| ([\d,]+) \| [^|]+\| [^|]+\| [^|]+\| [^|]+\| [^|]+\| ([\d.]+) \|",
        (DOCS / "results" / "coverage_table.md").read_text(),
        re.M,
    )
    sizes = list(dict.fromkeys(n for n, _ in cells))
    figure = Figure(figsize=(7, 3.2))
    axes = figure.subplots()
    jitter = np.random.default_rng(0)
    for place, size in enumerate(sizes):
        held = np.array([float(share) for n, share in cells if n == size])
        axes.plot(place + jitter.uniform(-0.3, 0.3, len(held)), held, ".", color=BLUE, alpha=0.35, markersize=5)
        axes.plot([place - 0.35, place + 0.35], [held.mean()] * 2, color=RED, linewidth=2)
        axes.annotate(f"mean {held.mean():.3f}", (place, 0.862), ha="center", color=RED)
    axes.axhline(0.95, color=GREY, linewidth=1, linestyle="--")
    axes.set_xticks(range(len(sizes)), [f"{int(size.replace(',', '')):,} images" for size in sizes])
    axes.set(ylabel="share of intervals\nthat hold the truth", ylim=(0.85, 1.005))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def verdicts() -> Figure:
    """Draw intervals beside 0 and the margin, with what a report says of two claims."""
    figure = Figure(figsize=(4, 2.9))
    axes = figure.subplots()
    axes.axvspan(-MARGIN, MARGIN, color=GREY, alpha=0.15, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=1)
    for line, (low, high, *said) in enumerate(VERDICTS):
        axes.plot([low, high], [line, line], color=BLUE, linewidth=2.5)
        axes.plot((low + high) / 2, line, "o", color=BLUE)
        for place, words in zip(COLUMNS, said, strict=True):
            axes.text(place, line, words, va="center")
    for place, head in zip(COLUMNS, ("“it falls”", "“it does not change”"), strict=True):
        axes.text(place, -1, head, va="center", fontweight="bold")
    axes.text(0, -1, "margin", va="center", ha="center", color=GREY)
    axes.set(xlim=(-4.8, 4), ylim=(len(VERDICTS) - 0.5, -0.6), yticks=[], xlabel="mean change in points")
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


PICTURES: dict[str, tuple[Callable[[], Figure], str]] = {
    "coverage": (
        coverage,
        "Share of intervals that hold the truth, for every measure and kind of study, by number of images",
    ),
    "verdicts": (
        verdicts,
        "Five intervals beside 0 and a margin of one point, each with what a report says of two claims",
    ),
}
