"""What was really quantized: shares of weights and multiply-accumulates by model, scheme and scope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from reliquant.report import frames, tabling
from reliquant.report.caution import few_quantized
from reliquant.report.frames import Rows
from reliquant.report.plotting import NothingToDraw

TITLE = "What was quantized"
QUESTION, PLACE = "models", 2
READ = (
    "Shares in % of the towers in scope, counted while a forward ran; the range where precisions, proxies or seeds "
    "differ. What is not quantized lies outside the blocks (embeddings, projections) or multiplies no weights "
    "(attention). Of the weights in the blocks a scheme means to quantize nearly all: a share below what it means is "
    "marked by !, and so is every figure and table that rests on such a variant."
)
KEYS = ["source", "model", "scheme", "scope"]
COLUMNS = {
    "quantized_weight_share": "weights",
    "quantized_mac_share": "multiply-accumulates",
    "quantized_block_share": "weights in the blocks",
}


def where(column: str, line: Mapping[str, Any], /) -> dict[str, str] | None:
    """Name the rows behind a cell."""
    measure = next((measure for measure, name in COLUMNS.items() if name == column), None)
    return {"suite": "", "measure": measure, **{key: line[key] for key in KEYS}} if measure else None


def table(rows: Rows, /) -> pl.DataFrame:
    """List the shares of each model, scheme and scope; raise NothingToDraw where none is known."""
    known = frames.quantized(frames.select(rows, COLUMNS, suite=""))
    if known.is_empty():
        raise NothingToDraw("no variant says which share of it is quantized")
    ends = known.group_by([*KEYS, "measure"]).agg(low=pl.col("value").min(), high=pl.col("value").max())
    few = few_quantized(rows)
    marked = few.select(KEYS).unique().with_columns(mark=pl.lit(" !"))
    shown = ends.select(KEYS).unique()
    for measure, name in COLUMNS.items():
        part = ends.filter(measure=measure)
        if part.is_empty():
            continue
        cells = [_range(line["low"], line["high"]) for line in part.iter_rows(named=True)]
        shown = shown.join(part.select(*KEYS, pl.Series(name, cells, dtype=pl.String)), on=KEYS, how="left")
    shown = shown.join(marked, on=KEYS, how="left").sort(KEYS).fill_null("")
    last = shown.columns[-2]
    return shown.with_columns(pl.concat_str(last, "mark").alias(last)).drop("mark")


def _range(low: float, high: float) -> str:
    """Write a share in %, with its other end where there are several."""
    first, second = tabling.number(low), tabling.number(high)
    return first if first == second else f"{first} to {second}"
