"""A table of all measures, gathered from the tables of docs/measures.md."""

from __future__ import annotations

import re
from pathlib import Path

from markup import table

PAGE = Path(__file__).resolve().parents[1] / "measures.md"


def index() -> str:
    """Write each measure of the page with the question that it answers and the section that explains it."""
    lines, section, head = [], "", []
    for line in PAGE.read_text().splitlines():
        if title := re.match(r"##+ (.*)", line):
            section, head = title[1], []
        elif line.startswith("| measure |"):
            head = ["measure"]
        elif head and re.match(r"\| `", line):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            lines.append([cells[0].strip(), cells[1].strip(), f"[{_plain(section)}](../measures.md#{_slug(section)})"])
    return table(["measure", "what it answers", "read"], lines)


def _plain(title: str) -> str:
    return re.sub(r"\s*\(.*\)", "", title.replace("`", ""))


def _slug(title: str) -> str:
    """Return the anchor that GitHub, and so myst-parser, makes of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
