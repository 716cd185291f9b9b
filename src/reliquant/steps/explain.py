"""Explain one variant: spectra, rank bands, controls, layers, spatial frequencies and trajectories, as rows."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import polars as pl

from reliquant.device import add_words, chosen
from reliquant.evaluation.belonging import made_of, require_records_of
from reliquant.evaluation.explain import explain, of_samples
from reliquant.evaluation.stored_records import read_samples
from reliquant.files.artifacts import ROW_SCHEMA, provenance, save_frame
from reliquant.files.stored_frames import errors_named
from reliquant.images.inventory import read_inventory, require_as_listed
from reliquant.layers.variant import load_variant
from reliquant.models.files import load_model
from reliquant.steps import run
from reliquant.study import paths, placed


def main() -> None:
    """Parse, load FP32 and the variant, explain, save the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tower", help="the module of a tower plugin that the model's file may name")
    parser.add_argument("--variant", type=Path, required=True)
    parser.add_argument("--samples", type=Path, nargs="+", required=True, help="records of the variant")
    parser.add_argument("--baseline", type=Path, nargs="*", default=[], help="records of FP32; none for FP32 itself")
    parser.add_argument("--data", type=Path, nargs="+", help="the inventories of what the records are of")
    parser.add_argument("--cells", type=json.loads, required=True, help="datasets to forward, JSON")
    parser.add_argument("--records", type=json.loads, required=True, help="datasets whose records to read, JSON")
    parser.add_argument("--labels", type=json.loads, required=True, help="the row columns of this variant, JSON")
    parser.add_argument("--images", type=int, required=True, help="how many images of each dataset")
    parser.add_argument("--waves", type=int, required=True, help="steps of the grid of Fourier waves; 0 for none")
    parser.add_argument("--wave-images", type=int, required=True, help="images of the first dataset for each wave")
    parser.add_argument("--batch", type=int, default=256)
    add_words(parser)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    placed.require_as_made(args.model)
    device = chosen(args)
    exact, _ = load_model(args.model, tower=args.tower)
    exact.model.to(device)
    variant = None
    if args.labels["scheme"] != "fp32":
        variant, _ = load_variant(args.model, args.variant, tower=args.tower)
        variant.model.to(device)
    require_records_of(args.labels, args.variant, args.samples, args.baseline, data=args.data)
    if args.data:
        _require_images([cell["folder"] for cell in args.cells], args.data)
    words = {"images": args.images, "waves": args.waves, "wave_images": args.wave_images}
    of_images = explain(exact, variant, args.cells, **words, batch=args.batch, device=device)
    samples = _records(args.samples)
    baseline = _records(args.baseline) if args.baseline else None
    with errors_named(args.samples[0]):
        rows = pl.concat([of_images, of_samples(samples, baseline, args.records)])
    constants = {column: pl.lit(value) for column, value in args.labels.items()}
    rows = rows.with_columns(**constants, iteration=pl.lit(None, pl.Int64))
    save_frame(
        args.output,
        rows.select(ROW_SCHEMA.names()).cast(dict(ROW_SCHEMA)),
        provenance(
            labels=args.labels,
            suites=["explain"],
            made_of=made_of(args.variant, [*args.samples, *args.baseline]),
        ),
    )


def _require_images(folders: list[str], inventories: list[Path]) -> None:
    """Raise DamagedFile unless prepared images are those that the records were computed on."""
    listed = {inventory: read_inventory(inventory) for inventory in inventories}
    for folder in folders:
        inventory = next((path for path in inventories if paths.meta(folder) in listed[path]), inventories[0])
        require_as_listed(inventory, [paths.images(folder), paths.meta(folder)])


def _records(files: list[Path]) -> pl.DataFrame:
    return pl.concat([read_samples(file) for file in files], how="diagonal")


if __name__ == "__main__":
    run(main)
