"""Rows of the suite retrieval with a known truth: recall that falls with the bits, mixed indexes, stored forms."""

from __future__ import annotations

from typing import Any

import polars as pl

from reliquant.report.searches import ALONE, BETWEEN
from reliquant.report.synthetic_explain import long

WIDTH = 64  # of the embeddings
FORMS = {"": 4.0 * WIDTH, "int8_vector": WIDTH + 4.0, "binary": WIDTH / 8}  # bytes a vector
LOST = {"": 0.0, "int8_vector": 0.002, "binary": 0.15}  # of recall by the form alone
RECALL = {"recall_at_1": 0.4, "recall_at_5": 0.7, "recall_at_10": 0.8, "map_at_r": 0.4, "ndcg_at_10": 0.6}
BY_CLASS = {"precision_at_1": 0.6, "precision_at_5": 0.55, "precision_at_10": 0.5, "map": 0.45}
MIXED = {"_fp32_library": 0.5, "_fp32_queries": 0.75}  # the share of what is lost where one side stays FP32
HALF = 0.01  # of each interval


def searched(variants: pl.DataFrame, shape: Any, /) -> list[pl.DataFrame]:
    """Return rows of searches, with intervals: recall falls by the relative loss of accuracy, on some sets by less."""
    sets = pl.DataFrame({"dataset": list(shape.retrieval)}, schema={"dataset": pl.String})
    every = variants.join(sets.with_columns(reference="dataset", suite=pl.lit("retrieval")), how="cross")
    if not every.height:
        return []
    parts = []
    for form, size in FORMS.items():
        for group in (*BETWEEN, ALONE):
            where = every.with_columns(group=pl.lit(group), score=pl.lit(form))
            columns = _measures(BY_CLASS if group == ALONE else RECALL, form)
            known = long(where, columns).with_columns(low=pl.col("value") - HALF, high=pl.col("value") + HALF)
            parts += [known, long(where, {"bytes_a_vector": pl.lit(size)})]
    return [pl.concat(parts, how="diagonal_relaxed")]


def _measures(before: dict[str, float], form: str) -> dict[str, pl.Expr]:
    """Return what a direction measures in a stored form, of which mixed indexes in float32 alone."""
    columns, quantized = {}, pl.when(~pl.col("fp32"))
    loss = pl.when(pl.col("fp32")).then(0.0).otherwise(pl.col("loss")) - LOST[form]
    for measure, value in before.items():
        columns[measure] = value * (1 + loss)
        columns[f"{measure}_change"] = quantized.then(value * loss)
        for mixed, share in MIXED.items() if not form else ():
            columns[f"{measure}{mixed}"] = quantized.then(value * (1 + share * loss))
            columns[f"{measure}{mixed}_change"] = quantized.then(value * share * loss)
    columns["top10_jaccard"] = quantized.then(1 + loss)
    if "recall_at_1" in before:
        columns |= {"median_rank": 2 - 10 * loss, "median_rank_change": quantized.then(-10 * loss)}
    return columns
