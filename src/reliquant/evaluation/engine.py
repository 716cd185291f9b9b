"""What a runtime changed: records of an exported variant beside those of its simulation; free of torch.

The records of the two hold the same images, so every measure with a paired change to FP32 has one to the simulation.
The simulation itself, run in float64, is the yardstick: it moves by the rounding of products alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl

from reliquant.measures.pairing import CELL
from reliquant.measures.prompts import TEMPLATE
from reliquant.measures.rows import rows

CHANGE, ENGINE, DOUBLED = "_change", "_engine_change", "_float64_change"
COUNTED = {  # measures of two sides, by the name that they have between a runtime and the simulation
    "agreement": "engine_agreement",
    "flips_right_to_wrong": "engine_flips_right_to_wrong",
    "flips_wrong_to_right": "engine_flips_wrong_to_right",
    "kl_to_fp32": "engine_kl",
}
OF_FP32 = "fp32"  # in the names of measures that need FP32 as the other side
YARDSTICK_AGREEMENT = "float64_agreement"


def comparable(records: pl.DataFrame, samples: pl.DataFrame, left_out: Sequence[str], /) -> pl.DataFrame:
    """Return of a simulation's records, or FP32's, those of the cells that exported files were run on.

    The scores `left_out`, which no exported file gives, are dropped.
    """
    there = samples.select(CELL).unique()
    kept = records.join(there, on=CELL, how="semi", nulls_equal=True, maintain_order="left")
    return kept.drop([f"score:{name}" for name in left_out], strict=False)


def engine_rows(
    samples: pl.DataFrame, simulated: pl.DataFrame, /, *, suites: Collection[str], resamples: int
) -> pl.DataFrame:
    """Return how an exported variant's answers differ from the simulation's, at the native logit scale.

    Rows are `<measure>_engine_change`, with interval and p as `<measure>_change` has them, and those of `COUNTED`.
    Raises ValueError where the records of the two do not match.
    """
    measured = rows(samples, simulated, resamples=resamples, suites=suites)
    return _renamed(measured, ENGINE, COUNTED)


def float64_rows(doubled: pl.DataFrame, simulated: pl.DataFrame, /, *, resamples: int) -> pl.DataFrame:
    """Return how the answers of the simulation differ when it runs in float64, on the images that `doubled` holds.

    Rows are `<measure>_float64_change` and `float64_agreement`, the share of images with the same top-1 answer.
    """
    same = simulated.join(doubled.select([*CELL, "index"]), on=[*CELL, "index"], how="semi", maintain_order="left")
    common = [name for name in doubled.columns if name in same.columns and not name.startswith(("score:", TEMPLATE))]
    measured = rows(doubled.select(common), same.select(common), resamples=resamples, suites=["clean"])
    return _renamed(measured, DOUBLED, {"agreement": YARDSTICK_AGREEMENT})


def _renamed(measured: pl.DataFrame, ending: str, counted: dict[str, str]) -> pl.DataFrame:
    """Return the rows that compare the two sides, under names that say which sides they are."""
    name = pl.col("measure")
    is_change = name.str.ends_with(CHANGE) & ~name.str.contains(OF_FP32)
    kept = measured.filter(is_change | name.is_in(list(counted)))
    renamed = pl.when(name.str.ends_with(CHANGE)).then(name.str.strip_suffix(CHANGE) + ending)
    return kept.with_columns(measure=renamed.otherwise(name.replace(counted)), scale=pl.lit("native"))
