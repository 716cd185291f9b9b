"""What searches found among stored embeddings as rows of a study, for `report`, `recommend` and `compare`."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from reliquant.evaluation.paired import FP32, Labels
from reliquant.files.artifacts import ROW_SCHEMA, UNKNOWN
from reliquant.study.config import RETRIEVAL


def rows_of_variants(
    found: Mapping[str, pl.DataFrame],
    fp32: pl.DataFrame,
    labels: Labels,
    /,
    *,
    precision: Mapping[str, str],
    bytes: Mapping[str, int],
    reference_bytes: int | None = None,
) -> pl.DataFrame:
    """Return the rows of variants by name (`retrieval_rows`) and of FP32 in the columns of a study (ROW_SCHEMA).

    `precision` and `bytes` are those of the variants, where they are known; sizes are rows of no suite, as a study has
    them.
    """
    exact = {} if reference_bytes is None else {"bytes": reference_bytes}
    parts = [_labelled(fp32, labels, exact, **FP32)]
    for name, rows in found.items():
        sizes = {"bytes": bytes[name]} if name in bytes else {}
        if sizes and reference_bytes is not None:
            sizes["bytes_fp32"] = reference_bytes
        of = {"scheme": name, "family": name, "precision": precision.get(name, UNKNOWN), "scope": UNKNOWN}
        parts.append(_labelled(rows, labels, sizes, **of))
    return pl.concat(parts)


def _labelled(found: pl.DataFrame, labels: Labels, sizes: Mapping[str, int], /, **of: str) -> pl.DataFrame:
    """Add what rows are of, and the rows of sizes."""
    where = {"suite": RETRIEVAL, "dataset": labels.dataset, "reference": labels.dataset}
    found = found.with_columns(severity=pl.lit(0), **{name: pl.lit(word) for name, word in where.items()})
    if sizes:
        values = [float(value) for value in sizes.values()]
        found = pl.concat([found, pl.DataFrame({"measure": list(sizes), "value": values})], how="diagonal_relaxed")
    of |= {"study": labels.study, "model": labels.model, "source": labels.source, "proxy": "none"}
    columns = {name: pl.lit(word) for name, word in {**of, "corruption": "", "scale": "native"}.items()}
    whole = found.with_columns(**columns, seed=pl.lit(0), iteration=pl.lit(None))
    whole = whole.with_columns(pl.col(pl.String).fill_null(""))
    return whole.select(ROW_SCHEMA.names()).cast(dict(ROW_SCHEMA))
