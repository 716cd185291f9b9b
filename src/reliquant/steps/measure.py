"""Turn a variant's records into rows: values with intervals, and differences to FP32 on the same images."""

from __future__ import annotations

import argparse
import json
from numbers import Real
from pathlib import Path

import polars as pl

from reliquant.evaluation.belonging import made_of, require_records_of, require_shard
from reliquant.evaluation.scales import scale_rows, scaled_rows
from reliquant.evaluation.stored_records import read_samples
from reliquant.files.artifacts import ROW_SCHEMA, provenance, read_facts, read_header, require_words, save_frame
from reliquant.files.stored_frames import errors_named
from reliquant.measures.pairing import require_same_scores
from reliquant.measures.rows import rows
from reliquant.steps import run

PLACE = ["suite", "dataset", "reference"]


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
    require_shard(own, args.suites, args.samples[0])
    samples = _with_others(shard, args.samples[1:])
    snapshots = "iteration" in samples.columns
    baseline = None
    if args.baseline:
        baseline = _with_others(read_samples(args.baseline[0]), args.baseline[1:], all_suites=snapshots)
    if snapshots and baseline is None:
        raise ValueError(f"{args.samples[0]}: records of snapshots are measured against FP32's: give --baseline")
    if snapshots:  # each has its own rows, against the same baseline
        baseline = baseline.filter(pl.col("suite").is_in(args.suites))
        groups = samples.partition_by("iteration", as_dict=True, include_key=False)
        parts = [
            _rows(part, baseline, own, args).with_columns(iteration=pl.lit(iteration, pl.Int64))
            for (iteration,), part in sorted(groups.items())
        ]
    else:
        parts = [_rows(samples, baseline, own, args), _of_variant(args.variant, "clean" in args.suites)]
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


def _rows(
    samples: pl.DataFrame, baseline: pl.DataFrame | None, own: pl.DataFrame, args: argparse.Namespace
) -> pl.DataFrame:
    """Measure records at the native logit scale and at the others that they hold.

    Kept are the rows of the shard's own suites, datasets and references (`own`).
    """
    with errors_named(args.samples[0]):
        asked = {word.partition("/")[0] for word in args.suites}
        words = {"resamples": args.resamples}
        if baseline is not None:
            require_same_scores(samples, baseline)
        parts = [rows(samples, baseline, **words, suites=asked).with_columns(scale=pl.lit("native"))]
        parts += scaled_rows(samples, baseline, args.labels["proxy"], suites=asked, **words)
        return pl.concat(parts, how="diagonal").join(own, on=PLACE, how="semi", maintain_order="left")


def _with_others(own: pl.DataFrame, files: list[Path], /, *, all_suites: bool = False) -> pl.DataFrame:
    """Add to a shard's records clean and shifted ones of the other shards, which its images are compared with."""
    others = [read_samples(file) for file in files]
    if not all_suites:
        others = [records.filter(pl.col("suite").is_in(["clean", "shift"])) for records in others]
    return pl.concat([own, *others], how="diagonal")


def _of_variant(variant: Path, wanted: bool) -> pl.DataFrame:
    """Return what is known without images, bytes, quantized shares and tuned scales: once, with the clean suite."""
    if not wanted:
        return pl.DataFrame(schema={"measure": pl.String, "value": pl.Float64, "scale": pl.String})
    header = read_header(variant)
    require_words(header, {"kind": str, "measures": dict}, f"{variant}: its header")
    measures = header["measures"]
    require_words(measures, dict.fromkeys(measures, Real), f"{variant}: its header's measures")
    frame = pl.DataFrame({"measure": list(measures), "value": [float(v) for v in measures.values()]})
    return pl.concat([frame.with_columns(scale=pl.lit("native")), scale_rows(header)], how="diagonal")


if __name__ == "__main__":
    run(main)
