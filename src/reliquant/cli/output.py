"""How a subcommand shows what it found: text for a terminal, data for `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from reliquant.cli.columns import columns, window
from reliquant.report.escaping import one_line


class Output(NamedTuple):
    """Hold what a subcommand found, as JSON-like data and as text for a terminal."""

    data: Any
    text: str
    code: int = 0  # how the command ends


def measured_output(found: Mapping[str, Any], /) -> Output:
    """Lay out {dataset: {measure: {value, low, high, n}}} as a table."""
    lines = []
    for dataset, measures in found.items():
        for name, m in measures.items():
            ends = "" if m["low"] is None else f"{m['low']:.4f} .. {m['high']:.4f}"
            lines.append([one_line(dataset), one_line(name), f"{m['value']:.4f}", ends, f"{m['n']:,}"])
    head = ("dataset", "measure", "value", "95 % interval", "n")
    return Output(found, "\n".join(columns(head, lines, right=("value", "n"), width=window())))
