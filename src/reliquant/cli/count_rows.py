"""How many rows a study will have: its measures run once on a few made-up records of every cell; free of torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from reliquant import plugins
from reliquant.evaluation.records import TUNED
from reliquant.evaluation.scales import TEMPERATURE, scaled_rows
from reliquant.measures.conformal import set_sizes
from reliquant.measures.divergence import top_of
from reliquant.measures.prompts import TEMPLATE
from reliquant.measures.rows import rows
from reliquant.study.cells import Cell, PlacedCell
from reliquant.study.study import Study
from reliquant.study.variants import fp32_of

OF_VARIANT = (  # known without images
    *("bytes", "bytes_fp32", "stored_bits", "dead_channels", "quantized_weight_share", "quantized_mac_share"),
    *("quantized_block_share", "least_block_share"),
)
FEW = 8  # made-up images per cell


def expected_rows(study: Study, /) -> int:
    """Return the number of rows of a finished study, without its data: exact if spurious sets have two groups.

    Rows that explain variants are not among them, and those of the sigmoid of models with a logit bias: how many there
    are is known when the models are open.
    """
    baselines = len(study.config.models)
    quantized = len(study.variants) - baselines
    model = next(iter(study.config.models))
    cells: list[PlacedCell] = []
    for shard in study.shards:
        cells += study.cells(model, shard)
    proxies = list(study.tuned_on(study.variants[str(fp32_of(model))]))
    exact, samples = _samples(study, cells, [f"tuned:{proxy}" for proxy in proxies]), _of_a_variant(study, cells)
    count = baselines * (_counted(exact, None) + 2 + len(proxies))  # of what is no image, bytes and tuned scales only
    if quantized:
        count += quantized * (_counted(samples, exact, *proxies[:1]) + len(OF_VARIANT) + bool(proxies))
        methods = Counter(study.schemes[variant.scheme]["quantizer"] for variant in study.variants.values())
        count += sum(n * len(plugins.literal("quantizer", method, "MEASURES")) for method, n in methods.items())
    snapshots = sum(len(study.snapshots(v)) for v in study.variants.values())
    if snapshots:
        cells = study.cells(model, study.SNAPSHOTS)
        exact, samples = _samples(study, cells, [f"tuned:{proxy}" for proxy in proxies]), _of_a_variant(study, cells)
        count += snapshots * _counted(samples, exact, *proxies[:1])
    return count


def _of_a_variant(study: Study, cells: Sequence[Cell]) -> pl.DataFrame:
    return _samples(study, cells, [] if study.config.tuning == "none" else ["tuned"])


def _samples(study: Study, cells: Sequence[Cell], scales: Sequence[str]) -> pl.DataFrame:
    """Make up records of cells, at other logit scales too, and in the clean suite at a temperature."""
    parts = []
    for cell in cells:
        words = [*scales, TEMPERATURE] if cell["suite"] == "clean" else scales
        same = [pl.col(name).alias(f"{name}_{word}") for word in words for name in TUNED]
        parts.append(_records(study, cell).with_columns(same))
    return pl.concat(parts, how="diagonal")


def _counted(samples: pl.DataFrame, baseline: pl.DataFrame | None, proxy: str = "") -> int:
    """Count the rows of records at all the scales that they have."""
    scaled = scaled_rows(samples, baseline, proxy, suites=set(samples["suite"]), resamples=100)
    return len(rows(samples, baseline, resamples=100)) + sum(len(part) for part in scaled)


def _records(study: Study, cell: Cell) -> pl.DataFrame:
    """Make up the records of one cell: half right, half wrong, of two groups where the suite asks for groups."""
    rng = np.random.default_rng(0)
    index = np.arange(FEW)
    groups = ["common" if i % 4 < 2 else "counter" for i in index] if cell["suite"] == "spurious" else [cell["group"]]
    scored = study.config.scores if cell["suite"] in ("clean", "shift", "ood") else ()
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
    )
    log_p = np.log(rng.dirichlet([1.0, 1.0], FEW))
    if cell["suite"] != "ood" and not cell["corruption"]:
        records = records.with_columns(top_of(log_p))
    if cell["suite"] in ("clean", "shift", "noise"):
        records = records.with_columns(set_sizes(log_p))
    if cell["suite"] == "clean" and study.config.templates_alone:
        records = records.with_columns(pl.lit(True).alias(f"{TEMPLATE}a {{}}"))
    where = {k: pl.lit(cell[k]) for k in ("suite", "dataset", "reference", "corruption")}
    records = records.with_columns(**where, group=pl.Series(groups * (FEW // len(groups)), dtype=pl.String))
    return pl.concat([records.with_columns(severity=pl.lit(s, pl.Int8)) for s in cell["severities"]])
