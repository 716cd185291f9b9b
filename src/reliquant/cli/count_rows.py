"""How many rows a study will have: its measures run once on a few made-up records of every cell; free of torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from reliquant.evaluation.records import SCALED, TUNED, at_tuned_scale
from reliquant.measures.divergence import top_of
from reliquant.measures.rows import rows
from reliquant.study.cells import Cell, PlacedCell
from reliquant.study.study import Study

OF_VARIANT = (  # known without images
    *("bytes", "bytes_fp32", "quantized_weight_share", "quantized_mac_share"),
    *("quantized_block_share", "least_block_share"),
)
FEW = 8  # made-up images per cell


def expected_rows(study: Study, /) -> int:
    """Return the number of rows of a finished study, without its data: exact if spurious sets have two groups.

    Rows that explain variants are not among them: how many there are is known when the models are open.
    """
    baselines = len(study.config.models)
    quantized = len(study.variants) - baselines
    model = next(iter(study.config.models))
    cells: list[PlacedCell] = []
    for shard in study.shards:
        cells += study.cells(model, shard)
    samples = _samples(study, cells)
    tuned = None if study.config.tuning == "none" else at_tuned_scale(samples)
    words = {"resamples": 100}
    count = baselines * (len(rows(samples, None, **words)) + 2)  # an FP32 variant has bytes only
    if quantized:
        native = len(rows(samples, samples, **words)) + len(OF_VARIANT)
        count += quantized * (native + (0 if tuned is None else _tuned_rows(tuned, samples)))
    snapshots = sum(len(study.snapshots(v)) for v in study.variants.values())
    return count + (snapshots * _rows_of_a_snapshot(study, model) if snapshots else 0)


def _rows_of_a_snapshot(study: Study, model: str) -> int:
    samples = _samples(study, study.cells(model, study.SNAPSHOTS))
    tuned = None if study.config.tuning == "none" else at_tuned_scale(samples)
    return len(rows(samples, samples, resamples=100)) + (0 if tuned is None else _tuned_rows(tuned, samples))


def _samples(study: Study, cells: Sequence[Cell]) -> pl.DataFrame:
    return pl.concat([_records(study, c) for c in cells], how="diagonal")


def _tuned_rows(tuned: pl.DataFrame, baseline: pl.DataFrame) -> int:
    measured = rows(tuned, baseline, resamples=100, suites=set(tuned["suite"]) - {"ood"})
    return len(measured.filter(pl.col("measure").str.contains(SCALED)))


def _records(study: Study, cell: Cell) -> pl.DataFrame:
    """Make up the records of one cell: half right, half wrong, of two groups where the suite asks for groups."""
    rng = np.random.default_rng(0)
    index = np.arange(FEW)
    groups = ["common" if i % 4 < 2 else "counter" for i in index] if cell["suite"] == "spurious" else [cell["group"]]
    scored = study.config.scores if cell["suite"] in ("clean", "ood") else ()
    confidence = rng.uniform(0.2, 0.9, FEW)
    records = pl.DataFrame(
        {
            "index": index.astype(np.int32),
            "label": np.full(FEW, -1 if cell["suite"] == "ood" else 0, np.int32),
            "prediction": (index % 2).astype(np.int32),
            "rank": (index % 2).astype(np.int32) + 1,
            "confidence": confidence,
            "nll": -np.log(confidence),
            "brier": confidence,
            **{f"score:{name}": confidence for name in scored},
        }
    ).with_columns(pl.col(name).alias(f"{name}_tuned") for name in TUNED)
    if cell["suite"] != "ood" and not cell["corruption"]:
        records = records.with_columns(top_of(np.log(rng.dirichlet([1.0, 1.0], FEW))))
    where = {k: pl.lit(cell[k]) for k in ("suite", "dataset", "reference", "corruption")}
    records = records.with_columns(**where, group=pl.Series(groups * (FEW // len(groups)), dtype=pl.String))
    return pl.concat([records.with_columns(severity=pl.lit(s, pl.Int8)) for s in cell["severities"]])
