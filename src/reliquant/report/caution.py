"""What a reader must know of the variants behind a piece: some quantize little, some lack sets; free of torch."""

from __future__ import annotations

import polars as pl

from reliquant.report.common_sets import common, some_of
from reliquant.report.frames import VARIANT, Recorded, Rows, quantized


def few_quantized(rows: Rows, /) -> pl.DataFrame:
    """Return the variants that quantize less of their blocks' weights than their schemes mean: `share` and `least`.

    Each says itself what it quantizes and what was meant. What this reads is no part of what a piece reads.
    """
    share, least = "quantized_block_share", "least_block_share"
    known = rows.lazy().filter(pl.col("measure").is_in([share, least])).select(*VARIANT, "measure", "value")
    frame = known.with_columns(pl.col(pl.Categorical).cast(pl.String)).collect()
    shares = frame.filter(measure=share).select(*VARIANT, share="value")
    meant = frame.filter(measure=least).select(*VARIANT, least="value")
    both = shares.join(meant, on=VARIANT, how="inner", nulls_equal=True).unique()
    return both.filter(pl.col("share") < pl.col("least")).sort(VARIANT)


def caution(recorded: Recorded, /) -> str:
    """Say what a piece rests on that a reader would not expect: variants that quantize little, and sets left out."""
    return " ".join(filter(None, [quantize_little(recorded), lack_sets(recorded)]))


def lack_sets(recorded: Recorded, /) -> str:
    """Say which variants behind a piece lack sets that others have, so that means over sets go without them."""
    groups, told = ["suite", "scale", "measure"], list[str]()
    for frame in recorded.read.values():
        if {"dataset", *groups, *VARIANT} <= set(frame.columns):
            of_models = quantized(frame).filter(pl.col("model").is_not_null())
            cells = of_models.select(*groups, *VARIANT, "dataset").unique(maintain_order=True)
            for line in common(cells, VARIANT, groups).left.iter_rows(named=True):
                told.append(f"{line['measure']} ({line['suite']}): {line['left']}")
    if not told:
        return ""
    return f"! Means over sets are made of what variants have in common: {some_of(list(dict.fromkeys(told)))}."


def quantize_little(recorded: Recorded, /) -> str:
    """Name the variants behind a piece that quantize less than their schemes mean; empty if there are none.

    Rows that are means over models, such as those of the noise map, rest on every such variant of their precision.
    """
    few = few_quantized(recorded)
    found = []
    for frame in recorded.read.values() if few.height else ():
        keys = [key for key in VARIANT if key in frame.columns]
        meant = frame.select(keys).unique()
        of_one = meant.filter(pl.col("model").is_not_null()) if "model" in keys else meant.clear()
        found.append(few.join(of_one, on=keys, how="semi", nulls_equal=True))
        means = meant.join(of_one, on=keys, how="anti", nulls_equal=True)
        found.append(few.filter(pl.col("precision").is_in(means["precision"].to_list())))
    named = pl.concat(found).unique().sort(VARIANT) if found else few.clear()
    if named.is_empty():
        return ""
    told = [f"{v['model']} {v['scheme']} {v['precision']} {v['scope']} ({v['share']:.1%})" for v in named.to_dicts()]
    more = f" and {len(told) - 3} more" if len(told) > 3 else ""
    return f"! Rests on variants with few of their blocks' weights quantized: {', '.join(told[:3])}{more}."
