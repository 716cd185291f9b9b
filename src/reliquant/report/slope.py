"""Does SQNR fall with rank: a slope of each variant, and their mean; free of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtrit

from reliquant.measures.stats import Z95
from reliquant.report import evidence, frames
from reliquant.report.averages import spread, table_of
from reliquant.report.frames import VARIANT
from reliquant.report.verdict import Finding, NotTestable, Word, power_of_each, written

UNIT = "dB a decade of rank"
FEWEST = 3  # ranks to a line; variants to a spread


def of_ranks(sqnr: pl.DataFrame, /, *, parts: int = 1, **used: Any) -> Finding:
    """Judge whether SQNR falls with rank, from rows `sqnr_rank_<r>` of variants.

    Each variant has one slope of its means over sets on log10(1 + rank); those that differ in their seed are averaged,
    and what is left is the unit of the interval, by Student's t. The ranks of a variant are no independent evidence. It
    is never narrower than what the images leave open: by the spread of the mean slope in the resamples that all ranks
    and variants share, or, where rows keep none, under any dependence. Where there are fewer than three variants, the
    scatter of their ranks around the lines takes the place of their spread. Rows without an interval are left out.
    """
    means, left = evidence.known(frames.mean_of_sets(sqnr))
    lines = [line for _, part in means.group_by(VARIANT, maintain_order=True) for line in _line(part)]
    slopes = pl.DataFrame([{name: line[name] for name in line if name != "replicates"} for line in lines])
    if slopes.is_empty():
        told = "no variant has SQNR by rank at three ranks (measures sqnr_rank_<r>) with intervals"
        raise NotTestable(f"{told}; {left}" if left else told)
    keys = [name for name in VARIANT if name != "seed"]
    each = slopes.group_by(keys, maintain_order=True).agg(pl.col("slope", "images", "scatter").mean())
    value, units = float(each["slope"].to_numpy().mean()), each.height
    half = _half_by_images(slopes.select(keys), np.stack([line["replicates"] for line in lines]))
    if np.isnan(half):
        half = float(each["images"].to_numpy().mean())
    if units >= FEWEST:
        between = float(np.std(each["slope"].to_numpy(), ddof=1)) / np.sqrt(units)
        half = max(half, float(stdtrit(units - 1, 0.975)) * between)
    else:
        half = max(half, float(each["scatter"].to_numpy().mean()))
    low, high = value - half, value + half
    verdict: Word = "supported" if high < 0 else "contradicted" if low > 0 else "too small to tell"
    further = evidence.reach(1, power=power_of_each(parts)) / evidence.Z95 - 1
    falls = int((each["slope"] < 0).sum())
    why = f"{falls} of {units} variants fall; the 95 % interval of the mean slope "
    why += f"{'excludes' if high < 0 or low > 0 else 'includes'} 0{f'; {left}' if left else ''}"
    counts: dict[str, Any] = {
        "runs": units,
        "images": int(sqnr["n"].to_numpy().max()),
        "told": written(-half * (1 + further), UNIT),
    }
    return Finding(verdict, why, value, low, high, UNIT, **counts, rows=used)


def _half_by_images(variants: pl.DataFrame, replicates: NDArray[np.float32]) -> float:
    """Return the half-width that images leave to the mean slope, from the slopes in each resample, (slopes, KEPT).

    `variants` names the variant of each slope: seeds of one share its weight. NaN where most replicates are missing.
    """
    seeds = variants.select(pl.len().over(variants.columns)).to_series().to_numpy()
    share = 1 / seeds / (1 / seeds).sum()
    return float(Z95 * spread(share @ replicates))


def _line(part: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the slope of one variant, its replicates, and half-widths of its interval by images and by scatter.

    The half-widths are of 95 %. Nothing is returned where there are too few ranks.
    """
    x = np.log10(1 + part["measure"].str.extract(r"(\d+)$").cast(pl.Float64).to_numpy())
    y, half = part["value"].to_numpy(), (part["high"] - part["low"]).cast(pl.Float64).to_numpy() / 2
    if len(x) < FEWEST:
        return []
    weight = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    slope = float(weight @ y)
    rest = y - y.mean() - slope * (x - x.mean())
    error = np.sqrt((rest**2).sum() / (len(x) - 2) / ((x - x.mean()) ** 2).sum())
    found = {
        "slope": slope,
        "images": float(np.abs(weight) @ half),
        "scatter": float(stdtrit(len(x) - 2, 0.975)) * float(error),
        "replicates": weight @ table_of(part),
    }
    return [{**{name: part[name][0] for name in VARIANT}, **found}]
