"""What `reliquant compare` says, for a terminal: below each variant a line for each change."""

from __future__ import annotations

from typing import Any

import polars as pl

from reliquant.cli.columns import columns, window
from reliquant.report.escaping import one_line

OF_VARIANT = ("model", "scheme", "precision", "scope", "proxy", "seed", "iteration")
SHOWN = 25  # changes of a variant, the largest first
ONLY = {"a": "only in the first", "b": "only in the second"}
HEAD = ("  where", "measure", "first", "second", "difference", "p")
NUMBERS = ("first", "second")
LEGEND = "difference: the second less the first, in brackets its 95 % interval"


def compared_text(changed: pl.DataFrame, /, *, each: bool = False) -> str:
    """Lay out changes (`report.compare.compare`) by variant, the largest first; all of them for `each`."""
    if changed.is_empty():
        return "nothing changed significantly"
    lines = []
    for words, part in changed.group_by(OF_VARIANT, maintain_order=True):
        lines.append(one_line(" ".join(str(word) for word in words if word not in (None, ""))) or "of the study")
        shown = part if each else part.head(SHOWN)
        lines += columns(HEAD, [_cells(row) for row in shown.iter_rows(named=True)], right=NUMBERS, width=window())
        if shown.height < part.height:
            lines.append(f"  and {part.height - shown.height:,} smaller changes (--all shows them)")
        lines.append("")
    return "\n".join([*lines, LEGEND])


def _cells(row: dict[str, Any]) -> list[str]:
    """Return the cells of one change: where, what, both values, the difference with its interval and p."""
    set_ = row["dataset"] if row["dataset"] == row["reference"] else f"{row['dataset']} for {row['reference']}"
    severity = f"severity {row['severity']}" if row["severity"] else ""
    scale = "" if row["scale"] == "native" else row["scale"]
    place = (row["suite"] or "the variant", set_, row["group"], row["corruption"], severity, row["score"], scale)
    where = "  " + one_line(" ".join(str(word) for word in place if word not in (None, "", " for ")))
    cells = [where, one_line(row["measure"]), _number(row["value_a"]), _number(row["value_b"])]
    if row["where"] != "both":
        return [*cells, ONLY[row["where"]]]
    ends = "" if row["low"] is None else f" [{_signed(row['low'])}, {_signed(row['high'])}]"
    p = "" if row["p"] is None else "< 0.0001" if row["p"] < 0.0001 else f"{row['p']:.4f}"
    return [*cells, f"{_signed(row['difference'])}{ends}", p]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+,.0f}" if abs(value) >= 1e4 else f"{value:+.4f}"
