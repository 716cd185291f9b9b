"""How what searches found is shown in a terminal: a block for each variant, a line for each measure with its unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from reliquant.cli.columns import columns, window
from reliquant.cli.paired_output import NUMBERS, Line, Units, cells_of, narrow_cells, wrapped
from reliquant.cli.units import counted
from reliquant.measures.retrieval import DIRECTIONS, Captioned, task
from reliquant.measures.stats import holm
from reliquant.report.escaping import one_line
from reliquant.report.frames import marked

UNITS: Units = (  # as `paired_output.UNITS`: unit of values, of changes, by what they are multiplied, digits
    (r"^bytes", "bytes", "bytes", 1, 1),
    (r"^median_rank", "rank", "ranks", 1, 1),
    (r"^margin", "cosine", "cosine", 1, 4),
    (r"^(top10_|rank_correlation)", "of 1", "of 1", 1, 3),
    (r"^right_answer_moved", "doublings", "doublings", 1, 3),
    (r"", "%", "points", 100, 1),
)
BRACKETS = "In brackets: 95 % intervals, which resample images with their captions; the library is taken as given."
NOTE = (
    " Changes are to {reference}, searched in float32; *, **, ***: p < .05, .01, .001 after Holm's correction for"
    " {tests} tests. ..._fp32_library: these queries search the reference's embeddings; ..._fp32_queries: the reverse."
)
STORED = (
    " Changes are to the same embeddings in float32; *, **, ***: p < .05, .01, .001 after Holm's correction for"
    " {tests} tests."
)
WHO = {
    "image_to_text": ("image", "caption"),
    "text_to_image": ("caption", "image"),
    "image_to_image": ("image", "other"),
}


class Count(NamedTuple):
    """Say how many queries a direction of search has, and how many items each searches."""

    queries: int
    library: int


def counts_of(captioned: Captioned, /) -> dict[str, Count]:
    """Return how much each direction of search asks, where it asks anything."""
    asked = {direction: task(direction, captioned, captioned) for direction in DIRECTIONS}
    return {name: Count(len(one.query), one.candidates) for name, one in asked.items() if one is not None}


def text_of(
    found: Mapping[str, Sequence[dict[str, Any]]], counts: Mapping[str, Mapping[str, Count]], reference: str, /
) -> str:
    """Lay out rows of `retrieval_rows` by variant, with their `counts_of`; `reference` is FP32's table, or empty.

    Changes are to the reference, or without one those of stored forms to float32.
    """
    suffix = "_change" if reference else "_index_change"
    blocks = {name: _lines(rows, suffix) for name, rows in found.items()}
    every = [line for block in blocks.values() for line in block.values()]
    changed = [line for line in every if line.change.get("p") is not None]
    p = holm([line.change["p"] for line in changed])
    for line, corrected in zip(changed, p, strict=True):
        line.stars = marked(float(corrected))
    width, told = window(), one_line(reference)
    parts = [_block(name, block, counts[name], told, width) for name, block in blocks.items()]
    note, tests = BRACKETS, int(np.isfinite(p).sum())
    if reference or changed:
        note += (NOTE if reference else STORED).format(reference=told, tests=tests)
    return "\n\n".join([*parts, wrapped(note, width)])


def _lines(rows: Sequence[dict[str, Any]], suffix: str) -> dict[tuple[str, str, str], Line]:
    """Put each value, its change and what it is changed from in one line, by direction, stored form and measure."""
    by_place = {(row["group"], row["score"], row["measure"]): row for row in rows}
    found = {}
    for (group, score, measure), row in by_place.items():
        if measure.endswith("_change"):
            continue
        line = Line(value={number: row[number] for number in NUMBERS})
        change = by_place.get((group, score, f"{measure}{suffix}"))
        if change is not None:
            line.change = {number: change[number] for number in NUMBERS}
            if row["value"] is not None and change["value"] is not None:
                line.reference = {"value": row["value"] - change["value"]}
        found[group, score, measure] = line
    return found


def _block(
    name: str,
    block: Mapping[tuple[str, str, str], Line],
    counts: Mapping[str, Count],
    reference: str,
    width: int | None,
) -> str:
    """Lay out a variant: a line for each measure of each search, or a few where the window is narrow."""
    lines: list[tuple[str, ...]] = []
    for group, score in dict.fromkeys((group, score) for group, score, _ in block):
        own = {measure: line for (*place, measure), line in block.items() if place == [group, score]}
        who, what = WHO[group]
        n = max((line.value["n"] or 0 for line in own.values()), default=0)
        of = f" of {counted(n, 'image')}" if who == "caption" else ""
        told = f"{counted(counts[group].queries, who)}{of} searched {counted(counts[group].library, what)}"
        lines.append((f"{group.replace('_', ' ')}, {one_line(score) or 'float32'}: {told}",))
        lines += [_cells(measure, line) for measure, line in own.items()]
    head = ("measure", "value", "reference" if reference else "float32", "unit", "change")
    narrow = [narrow_cells(line) for line in lines]
    if not any(line.change for line in block.values()):
        head = (*head[:2], "unit", "95 % interval")
        lines, narrow = ([line[:2] + line[3:] if len(line) > 1 else line for line in each] for each in (lines, narrow))
    title = wrapped(f"{one_line(name)} beside {reference}" if reference else one_line(name), width)
    return "\n".join(
        [title, *columns(head, lines, right=head[1:2] + head[2:3] * (len(head) > 4), width=width, narrow=narrow)]
    )


def _cells(measure: str, line: Line) -> tuple[str, ...]:
    """Write a line; what has no value, such as Recall@10 of fewer than ten items, is undefined."""
    if line.value["value"] is None:
        return f"  {measure}", "undefined", "", "", ""
    return cells_of(measure, line, units=UNITS)
