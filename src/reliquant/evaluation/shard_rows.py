"""What the rules that measure share: a shard's records beside those of other shards, and the rows of its own alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from numbers import Real
from pathlib import Path

import polars as pl

from reliquant.evaluation.scales import scale_rows, scaled_rows
from reliquant.evaluation.stored_records import read_samples
from reliquant.files.artifacts import read_header, require_words
from reliquant.files.stored_frames import errors_named
from reliquant.measures.pairing import require_same_scores
from reliquant.measures.rows import rows

PLACE = ["suite", "dataset", "reference"]


def own_rows(
    samples: pl.DataFrame,
    baseline: pl.DataFrame | None,
    own: pl.DataFrame,
    path: Path,
    /,
    *,
    suites: Collection[str],
    proxy: str,
    resamples: int,
) -> pl.DataFrame:
    """Measure records at the native logit scale and at the others that they hold.

    Kept are the rows of the shard's own suites, datasets and references (`own`); errors name `path`. `suites` are
    suites, or suite/dataset; `proxy` is the variant's, by which FP32's tuned scale is chosen.
    """
    with errors_named(path):
        asked = {word.partition("/")[0] for word in suites}
        if baseline is not None:
            require_same_scores(samples, baseline)
        parts = [rows(samples, baseline, resamples=resamples, suites=asked).with_columns(scale=pl.lit("native"))]
        parts += scaled_rows(samples, baseline, proxy, suites=asked, resamples=resamples)
        return pl.concat(parts, how="diagonal").join(own, on=PLACE, how="semi", maintain_order="left")


def with_others(own: pl.DataFrame, files: Sequence[Path], /, *, all_suites: bool = False) -> pl.DataFrame:
    """Add to a shard's records clean and shifted ones of the other shards, which its images are compared with."""
    others = [read_samples(file) for file in files]
    if not all_suites:
        others = [records.filter(pl.col("suite").is_in(["clean", "shift"])) for records in others]
    return pl.concat([own, *others], how="diagonal")


def of_variant(variant: Path, wanted: bool, /) -> pl.DataFrame:
    """Return what is known without images, bytes, quantized shares and tuned scales: once, with the clean suite."""
    if not wanted:
        return pl.DataFrame(schema={"measure": pl.String, "value": pl.Float64, "scale": pl.String})
    header = read_header(variant)
    require_words(header, {"kind": str, "measures": dict}, f"{variant}: its header")
    measures = header["measures"]
    require_words(measures, dict.fromkeys(measures, Real), f"{variant}: its header's measures")
    frame = pl.DataFrame({"measure": list(measures), "value": [float(v) for v in measures.values()]})
    return pl.concat([frame.with_columns(scale=pl.lit("native")), scale_rows(header)], how="diagonal")
