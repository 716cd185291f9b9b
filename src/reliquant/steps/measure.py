"""Turn a variant's records into rows: values with intervals, and differences to FP32 on the same images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import polars as pl

from reliquant.measure import rows
from reliquant.records import ROW_SCHEMA, provenance, read_header, save_frame
from reliquant.steps import run
from reliquant.tuning import SCALED, at_tuned_scale


def main() -> None:
    """Parse, load the records, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, nargs="+", required=True)
    parser.add_argument("--baseline", type=Path, nargs="*", default=[], help="records of FP32; none for FP32 itself")
    parser.add_argument("--variant", type=Path, required=True)
    parser.add_argument("--labels", type=json.loads, required=True, help="the row columns of this variant, JSON")
    parser.add_argument("--suites", nargs="+", required=True, help="suites to keep")
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    samples = pl.concat([pl.read_parquet(p) for p in args.samples], how="diagonal")
    baseline = pl.concat([pl.read_parquet(p) for p in args.baseline], how="diagonal") if args.baseline else None
    words = {"resamples": args.resamples}
    parts = [rows(samples, baseline, **words, suites=args.suites), _of_variant(args.variant, "clean" in args.suites)]
    parts = [part.with_columns(scale=pl.lit("native")) for part in parts]
    tuned = at_tuned_scale(samples)
    if tuned is not None:
        suites = [suite for suite in args.suites if suite != "ood"]
        found = rows(tuned, baseline, **words, suites=suites).filter(pl.col("measure").str.contains(SCALED))
        parts.append(found.with_columns(scale=pl.lit("tuned")))
    frame = pl.concat(parts, how="diagonal")
    constants = {k: pl.lit(v) for k, v in args.labels.items()}
    frame = frame.with_columns(**constants, iteration=pl.lit(None, pl.Int64))
    frame = frame.with_columns(pl.col(pl.String).fill_null(""))
    save_frame(args.output, frame.select(ROW_SCHEMA.names()).cast(dict(ROW_SCHEMA)), provenance(labels=args.labels))


def _of_variant(variant: Path, wanted: bool) -> pl.DataFrame:
    """Return what is known without images: bytes and quantized shares; once a variant, with the clean suite."""
    measures = read_header(variant)["measures"] if wanted else {}
    return pl.DataFrame({"measure": list(measures), "value": [float(v) for v in measures.values()]})


if __name__ == "__main__":
    run(main)
