"""How what searches found is shown in a terminal: a line for each measure, with its change to a reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reliquant.cli.columns import columns, window
from reliquant.cli.paired_output import wrapped
from reliquant.measures.stats import holm
from reliquant.report.escaping import one_line
from reliquant.report.frames import marked

NOTE = (
    "In brackets: 95 % intervals, which resample images with their captions; the library is taken as given. Changes are"
    " to {reference}, searched in float32; *, **, ***: p < .05, .01, .001 after Holm's correction for {tests} tests."
    " ..._fp32_library: these queries search the reference's embeddings; ..._fp32_queries: the reverse."
)
ALONE = "In brackets: 95 % intervals, which resample images with their captions; the library is taken as given."


def text_of(rows: Sequence[dict[str, Any]], reference: str, /) -> str:
    """Lay out rows of `retrieval_rows`, by direction and stored form; `reference` is what changes are to, or empty."""
    by_place = {(row["group"], row["score"], row["measure"]): row for row in rows}
    changes = [row for row in rows if row["measure"].endswith("_change") and row["p"] is not None]
    p = holm([row["p"] for row in changes])
    stars = {id(row): marked(float(corrected)) for row, corrected in zip(changes, p, strict=True)}
    width, lines = window(), list[str]()
    for group, score in dict.fromkeys((row["group"], row["score"]) for row in rows):
        cells = []
        for row in rows:
            if (row["group"], row["score"]) != (group, score) or row["measure"].endswith("_change"):
                continue
            change = by_place.get((group, score, f"{row['measure']}_change" if reference else ""))
            changed = "" if change is None else _cell(change, "+") + stars.get(id(change), "")
            cells.append([row["measure"], _cell(row, ""), changed])
        name = f"{group.replace('_', ' ')}, {one_line(score) or 'float32'}"
        head = (name, "value", f"change to {one_line(reference)}" if reference else "")
        lines += [*columns(head, cells, width=width), ""]
    note = NOTE.format(reference=one_line(reference), tests=int(np.isfinite(p).sum())) if reference else ALONE
    return "\n".join([*lines, wrapped(note, width)])


def _cell(row: dict[str, Any], sign: str) -> str:
    """Write a value with its interval."""
    if row["value"] is None:
        return ""
    value, low, high = ("" if row[end] is None else _number(row[end], sign) for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]" if low else value


def _number(number: float, sign: str) -> str:
    return f"{number:{sign}.4g}" if number else "0"
