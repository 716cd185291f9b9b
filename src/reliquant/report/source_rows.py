"""The rows behind a number of a report: a file beside the page and, where they are few, inside it; free of torch."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable

import polars as pl

from reliquant.files.artifacts import ROW_SCHEMA
from reliquant.report import escaping

READABLE = 50_000  # rows of a csv; more become parquet
EMBEDDED = 30_000  # rows that the page itself holds
DIGITS = 6
ROWS = "-rows"  # how the name of such a file goes on, before its ending


def gathered(read: Iterable[pl.DataFrame], /) -> pl.DataFrame:
    """Put together what was read of the rows, without replicates; each row once, unless there are too many."""
    shown = [name for name in ROW_SCHEMA if name != "replicates"]
    parts = [frame.select(c for c in shown if c in frame.columns) for frame in read]
    if not parts:
        return pl.DataFrame(schema={name: ROW_SCHEMA[name] for name in shown})
    whole = pl.concat(parts, how="diagonal")
    return whole.unique(maintain_order=True) if len(parts) > 1 and whole.height <= 20 * EMBEDDED else whole


def ending(frame: pl.DataFrame, /) -> str:
    """Return how the name of a file of rows ends: csv, which a person can open, or parquet where rows are many."""
    return f"{ROWS}.csv" if frame.height <= READABLE else f"{ROWS}.parquet"


def as_file(frame: pl.DataFrame, /) -> tuple[str, bytes]:
    """Return the ending and bytes of a file of rows."""
    end = ending(frame)
    if end.endswith(".csv"):
        return end, escaping.csv(frame).encode()
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return end, stream.getvalue()


def as_json(frame: pl.DataFrame, /) -> str:
    """Return rows as JSON {columns, rows} that is safe inside a script element; "" where they are too many.

    Columns that hold one value only, or nothing, are left out. Numbers have six significant digits; those that are not
    finite, for which JSON has no word, become null.
    """
    if not 0 < frame.height <= EMBEDDED:
        return ""
    kept = [c for c in frame.columns if c in ("value", "measure") or frame[c].n_unique() > 1]
    floats = pl.col(pl.Float64)
    short = frame.select(kept).with_columns(pl.when(floats.is_finite()).then(floats.round_sig_figs(DIGITS)))
    text = json.dumps({"columns": kept, "rows": [list(r) for r in short.iter_rows()]}, allow_nan=False)
    return re.sub("[<>&]", lambda m: f"\\u{ord(m[0]):04x}", text)
