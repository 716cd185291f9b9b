"""Turn a variant's records into rows: values with intervals, and differences to FP32 on the same images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import polars as pl

from reliquant.evaluation.belonging import made_of, require_records_of, require_shard
from reliquant.evaluation.shard_rows import PLACE, of_variant, own_rows, with_others
from reliquant.evaluation.stored_records import read_samples
from reliquant.files.artifacts import ROW_SCHEMA, provenance, read_facts, save_frame
from reliquant.steps import run


def main() -> None:
    """Parse, load the records, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, nargs="+", required=True, help="this shard's records, then others")
    parser.add_argument("--baseline", type=Path, nargs="*", default=[], help="records of FP32; none for FP32 itself")
    parser.add_argument("--variant", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", help="the inventories of what the shards are evaluated on")
    parser.add_argument("--labels", type=json.loads, required=True, help="the row columns of this variant, JSON")
    parser.add_argument("--suites", nargs="+", required=True, help="what to keep: suites, or suite/dataset")
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    require_records_of(args.labels, args.variant, args.samples, args.baseline, data=args.data)
    shard = read_samples(args.samples[0])
    own = shard.select(PLACE).unique()
    words = {"suites": args.suites, "proxy": args.labels["proxy"], "resamples": args.resamples}
    require_shard(own, args.suites, args.samples[0])
    samples = with_others(shard, args.samples[1:])
    snapshots = "iteration" in samples.columns
    baseline = None
    if args.baseline:
        baseline = with_others(read_samples(args.baseline[0]), args.baseline[1:], all_suites=snapshots)
    if snapshots and baseline is None:
        raise ValueError(f"{args.samples[0]}: records of snapshots are measured against FP32's: give --baseline")
    if snapshots:  # each has its own rows, against the same baseline
        baseline = baseline.filter(pl.col("suite").is_in(args.suites))
        groups = samples.partition_by("iteration", as_dict=True, include_key=False)
        parts = [
            own_rows(part, baseline, own, args.samples[0], **words).with_columns(iteration=pl.lit(iteration, pl.Int64))
            for (iteration,), part in sorted(groups.items())
        ]
    else:
        parts = [
            own_rows(samples, baseline, own, args.samples[0], **words),
            of_variant(args.variant, "clean" in args.suites),
        ]
        parts = [part.with_columns(iteration=pl.lit(None, pl.Int64)) for part in parts]
    labels = {column: pl.lit(value) for column, value in args.labels.items()}
    frame = pl.concat(parts, how="diagonal")
    if "proxy" in frame.columns:  # of FP32, which has a tuned scale for each proxy
        labels["proxy"] = pl.coalesce("proxy", labels["proxy"])
    frame = frame.with_columns(**labels).with_columns(pl.col(pl.String).fill_null(""))
    made = read_facts(args.samples[0])
    backend = made.get("backend")
    used = backend.get("used", "") if isinstance(backend, dict) else ""
    computed = {"backend": used, "dtype": made.get("dtype", "")}
    computed["made_of"] = made_of(args.variant, [*args.samples, *args.baseline])
    facts = provenance(labels=args.labels, suites=args.suites, **computed, device=made.get("device", ""))
    save_frame(args.output, frame.select(ROW_SCHEMA.names()).cast(dict(ROW_SCHEMA)), facts)


if __name__ == "__main__":
    run(main)
