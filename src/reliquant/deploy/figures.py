"""What was measured of a variant, out of a table of rows: its own rows, FP32's beside them, and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from reliquant.deploy.measured import rows_of, table_of
from reliquant.files.artifacts import read_facts
from reliquant.report.card_lines import shown
from reliquant.report.choice import FP32, names, variants
from reliquant.report.common_sets import some_of
from reliquant.report.frames import VARIANT, Rows

WORDS = ("model", "scheme", "precision", "scope", "proxy", "seed")  # that name a variant
KNOWN = ("versions", "backends", "assumed", "reference")  # of a table's facts, those that a card shows


def measured_rows(path: Path, name: str, facts: Mapping[str, Any], /) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the rows of a table that are of a variant, with FP32's of the same model, and the table's own facts.

    `name` is what the variant's file is called, `facts` what an export knows of it: a study's variant has `labels`,
    whose words must all be those of the rows; one that was quantized alone goes by its file's name, as the scheme that
    `evaluate --rows` calls it. Rows of a runtime (`rtn@onnxruntime`) are of the variant that it ran. Raises ValueError
    naming the table where none of its variants is this one, by these words or by the variant's size in bytes.
    """
    rows = rows_of(path)
    rows = rows.with_columns(pl.col(pl.Categorical).cast(pl.String))
    asked = _asked(name, facts)
    every = rows.select(VARIANT).unique().sort(VARIANT)
    conditions = [_is(word, value) for word, value in asked.items() if word != "scheme"]
    own = every.filter(pl.col("scheme").str.replace("@.*$", "") == asked["scheme"], *conditions)
    if own.is_empty():
        told = " ".join(str(value) for value in asked.values())
        raise ValueError(f"--rows {path}: has no rows of this variant ({told}), only of {some_of(names(every))}")
    for word in ("model", "precision"):
        if own[word].n_unique() > 1:
            raise ValueError(f"--rows {path}: has variants of this name of more than one {word}: {some_of(names(own))}")
    of_fp32 = pl.all_horizontal(_is("scheme", FP32), *(_is(word, own[word][0]) for word in ("model", "source")))
    is_own = pl.struct(VARIANT).is_in(own.select(pl.struct(VARIANT)).to_series().implode())
    _require_size(rows.filter(is_own), facts, path)
    told = read_facts(table_of(path))
    return rows.filter(is_own | of_fp32), {word: told[word] for word in KNOWN if told.get(word)}


def figures(rows: Rows, /) -> list[dict[str, Any]]:
    """Return the figures of a card as JSON-like data: variant, suite, set, measure, value, FP32's, the change, n."""
    found = []
    chosen = variants(rows, {})
    for variant, name in zip(chosen.rows(named=True), names(chosen), strict=True):
        for line in shown(rows, variant):
            moved = line.change
            numbers = {"value": line.value, "low": line.low, "high": line.high, "fp32": line.fp32, "n": line.n}
            numbers |= {"change": moved.value, "change_low": moved.low, "change_high": moved.high}
            place = {"variant": name, "suite": line.suite, "set": line.set_, "measure": line.measure}
            found.append(place | {word: number for word, number in numbers.items() if number is not None})
    return found


def _require_size(own: pl.DataFrame, facts: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError where rows say another size of a variant than the variant does: another one has its name."""
    size = (facts.get("measures") or {}).get("bytes")
    plain = own.filter(~pl.col("scheme").str.contains("@"), measure="bytes", suite="")
    for found in plain["value"] if size is not None else ():
        if found != size:
            told = f"a variant of this name has {found:,.0f} bytes there, and this one {size:,.0f}"
            raise ValueError(f"--rows {path}: is of another variant: {told}")


def _asked(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what rows of a variant must say, by column."""
    labels = facts.get("labels") or {}
    asked = {word: labels[word] for word in WORDS if labels.get(word) is not None}
    if "scheme" not in asked:
        is_fp32 = (facts.get("entry") or {}).get("quantizer") == "none"
        asked = {"scheme": FP32 if is_fp32 else name}
        asked |= {"model": name} if is_fp32 else {word: labels[word] for word in ("scope",) if word in labels}
    return asked


def _is(column: str, value: Any) -> pl.Expr:
    return pl.col(column).eq_missing(pl.lit(value))
