"""Turn the records of an exported variant into rows: values, differences to FP32, and to the variant's simulation."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import polars as pl

from reliquant.evaluation.belonging import made_of, require_records_of, require_shard
from reliquant.evaluation.engine import comparable, engine_rows, float64_rows
from reliquant.evaluation.ran import exported_rows, require_run_of, require_simulated
from reliquant.evaluation.shard_rows import PLACE, of_variant, own_rows, with_others
from reliquant.evaluation.stored_records import read_samples
from reliquant.files.artifacts import ROW_SCHEMA, provenance, read_facts, save_frame
from reliquant.files.stored_frames import errors_named
from reliquant.steps import run


def main() -> None:
    """Parse, load the records, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, nargs="+", required=True, help="this shard's records, then others")
    parser.add_argument("--simulated", type=Path, nargs="+", required=True, help="those of the variant's simulation")
    parser.add_argument("--baseline", type=Path, nargs="+", required=True, help="those of FP32's simulation")
    parser.add_argument("--doubled", type=Path, nargs="*", default=[], help="the simulation's in float64, if wanted")
    parser.add_argument("--variant", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", help="the inventories of what the shards are evaluated on")
    parser.add_argument("--of", type=json.loads, required=True, help="the row columns of the variant, JSON")
    parser.add_argument("--labels", type=json.loads, required=True, help="those of what the runtime makes of it, JSON")
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--suites", nargs="+", required=True, help="what to keep: suites, or suite/dataset")
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    require_records_of(args.of, args.variant, args.samples, args.baseline, data=args.data)
    require_records_of(args.of, args.variant, args.simulated, args.baseline, data=args.data)
    require_run_of(args.samples, args.runtime)
    require_simulated([*args.simulated, *args.baseline])
    made = read_facts(args.samples[0])
    shard = read_samples(args.samples[0])
    own = shard.select(PLACE).unique()
    require_shard(own, args.suites, args.samples[0])
    samples = with_others(shard, args.samples[1:])
    sides = [_beside(files, samples, made["left_out"]) for files in (args.simulated, args.baseline)]
    asked = {word.partition("/")[0] for word in args.suites}
    words = {"proxy": args.labels["proxy"], "resamples": args.resamples}
    parts = [own_rows(samples, sides[1], own, args.samples[0], suites=args.suites, **words)]
    with errors_named(args.samples[0]):
        engine = engine_rows(samples, sides[0], suites=asked, resamples=args.resamples)
        parts.append(engine.join(own, on=PLACE, how="semi", maintain_order="left"))
    for path in args.doubled:
        require_records_of(args.of, args.variant, [path], [], data=None)
        with errors_named(path):
            parts.append(float64_rows(read_samples(path), sides[0], resamples=args.resamples))
    if "clean" in args.suites:
        parts += [of_variant(args.variant, True).filter(pl.col("measure") != "bytes"), exported_rows(made)]
    frame = pl.concat(parts, how="diagonal").with_columns(iteration=pl.lit(None, pl.Int64))
    if "proxy" in frame.columns:  # of FP32 at the scales that its variants' proxies tune: in rows they would be others
        frame = frame.filter(pl.col("proxy").is_null())
    labels = {column: pl.lit(value) for column, value in args.labels.items()}
    frame = frame.with_columns(**labels).with_columns(pl.col(pl.String).fill_null(""))
    ran = {word: made[word] for word in ("runtime", "runs", "export", "left_out", "float_weights")}
    simulated = read_facts(args.simulated[0]).get("backend") or {}
    facts = {"labels": args.labels, "suites": args.suites, **ran, "simulated_by": simulated.get("used", "")}
    facts["made_of"] = made_of(args.variant, [*args.samples, *args.simulated, *args.baseline, *args.doubled])
    facts |= {"backend": args.runtime, "dtype": made["dtype"], "device": made["device"]}
    save_frame(args.output, frame.select(ROW_SCHEMA.names()).cast(dict(ROW_SCHEMA)), provenance(**facts))


def _beside(files: list[Path], samples: pl.DataFrame, left_out: list[str]) -> pl.DataFrame:
    """Read the records of another side on the images that the exported files were run on."""
    return comparable(with_others(read_samples(files[0]), files[1:]), samples, left_out)


if __name__ == "__main__":
    run(main)
