"""How a subcommand shows what it found: text for a terminal, data for `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from reliquant.report.escaping import one_line


class Output(NamedTuple):
    """Hold what a subcommand found, as JSON-like data and as text for a terminal."""

    data: Any
    text: str
    code: int = 0  # how the command ends


def measured_output(found: Mapping[str, Any], /) -> Output:
    """Lay out {dataset: {measure: {value, low, high, n}}} as a table."""
    lines = [f"{'dataset':24} {'measure':28} {'value':>9}   95 % interval          n"]
    for dataset, measures in found.items():
        for name, m in measures.items():
            low, high = ("" if m[k] is None else f"{m[k]:.4f}" for k in ("low", "high"))
            lines.append(
                f"{one_line(dataset):24} {one_line(name):28} {m['value']:9.4f}   {low:>8} .. {high:8} {m['n']:6}"
            )
    return Output(found, "\n".join(lines))
