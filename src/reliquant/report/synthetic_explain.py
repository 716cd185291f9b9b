"""Rows of the `explain` suite with a known truth, and of accuracy during QAT; free of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from reliquant.files.artifacts import ROW_SCHEMA

LAYERS = [
    f"visual.transformer.resblocks.{i}.{part}" for i in range(4) for part in ("attn.qkv", "attn.proj", "mlp.c_fc")
]
CONTROLS = ("gaussian noise", "uniform noise", "noise, same SQNR by rank", "FP32 truncated", "noise in FP32 weights")
CLASSES = ("circle", "square", "triangle", "star", "heart")
RADII = (0.25, 0.5, 0.75, 1.0, 1.25)
WAVES = ["0,4", "0,8", "4,-4", "4,0", "4,4", "4,8", "8,0", "8,4", "8,8"]


def explained(variants: pl.DataFrame, shape: Any, truth: Any, /) -> list[pl.DataFrame]:
    """Return rows of spectra, bands, controls, layers, maps, margins, bins and classes, and of accuracy during QAT."""
    sets = pl.DataFrame({"dataset": list(shape.clean[:1])}, schema={"dataset": pl.String}).with_columns(
        reference="dataset"
    )
    way = (
        variants.filter(pl.col("family").str.contains("QAT"))
        .join(sets, how="cross")
        .with_columns(suite=pl.lit("clean"))
    )
    way = way.join(pl.DataFrame({"iteration": list(shape.iterations)}, schema={"iteration": pl.Int64}), how="cross")
    gained = pl.col("loss") - 0.2 / (1 + pl.col("iteration") / 40)
    parts = [long(way, {"accuracy": pl.col("base") + gained, "accuracy_change": gained})]
    if not shape.ranks:
        return parts
    every = variants.join(sets, how="cross").with_columns(suite=pl.lit("explain"))
    frame = every.filter(~pl.col("fp32"))
    return [*parts, *_spectra(frame, shape, truth), *_controls(frame), *_maps(every), *_bins(every), *_classes(frame)]


def alone(variants: pl.DataFrame, shape: Any, /) -> list[pl.DataFrame]:
    """Return rows of layers quantized by themselves, with intervals: the first layer does the most harm."""
    sets = pl.DataFrame({"dataset": list(shape.clean[:1])}, schema={"dataset": pl.String})
    frame = variants.filter(~pl.col("fp32")).join(sets, how="cross").with_columns(suite=pl.lit("explain"))
    layers = _by(frame, LAYERS)
    share = 1 / (1 + pl.col("group").replace_strict({n: i for i, n in enumerate(LAYERS)}, return_dtype=pl.Float64))
    columns = {"alone_output_error": share * 4.0 ** -pl.col("bits"), "alone_accuracy_change": share * pl.col("loss")}
    columns |= {"alone_squared_ce_change": 0.001 * share, "alone_auroc_change": -0.02 * share}
    made = long(layers, columns) if shape.ranks else layers.clear()
    half = pl.col("value").abs() * 0.2 + 1e-7
    return [made.with_columns(low=pl.col("value") - half, high=pl.col("value") + half)] if made.height else []


def long(frame: pl.DataFrame, columns: dict[str, pl.Expr], /) -> pl.DataFrame:
    """Turn expressions into rows, one per measure, with the columns of rows that the frame has; nulls give no row."""
    keys = [c for c in frame.columns if c in ROW_SCHEMA and c not in columns]
    wide = frame.select(*keys, **columns)
    return (
        wide.unpivot(list(columns), index=keys, variable_name="measure")
        .drop_nulls("value")
        .with_columns(unit=pl.lit(1.0), value=pl.col("value").cast(pl.Float64))
    )


def _spectra(frame: pl.DataFrame, shape: Any, truth: Any) -> list[pl.DataFrame]:
    top, slope = truth.sqnr
    sqnr = {f"sqnr_rank_{r}": pl.lit(top + slope * np.log10(1 + r)) + pl.col("bits") for r in shape.ranks}
    qat = pl.col("family").str.contains("QAT")
    bands = {"0_8": truth.bands[0], "8_64": 0.0, "64_end": truth.bands[1]}
    columns = {f"accuracy_rank_{b}_change": pl.when(qat).then(c).otherwise(-0.01) for b, c in bands.items()}
    columns |= {f"accuracy_rank_{b}_fp32_basis_change": pl.lit(-0.02) for b in bands}
    layers = _by(frame, LAYERS).with_columns(
        depth=pl.col("group").replace_strict(
            dict(zip(LAYERS, range(len(LAYERS)), strict=True)), return_dtype=pl.Float64
        )
    )
    levels = {
        "output_sqnr": 6 * pl.col("bits") - 10 - pl.col("depth"),
        "weight_sqnr": 6 * pl.col("bits") - 6 + 0 * pl.col("depth"),
    }
    decibels = [long(frame, sqnr), long(layers, levels)]
    return [*(d.with_columns(unit=pl.lit(50.0)) for d in decibels), long(frame, columns)]


def _controls(frame: pl.DataFrame) -> list[pl.DataFrame]:
    lines = _by(frame, ["", *CONTROLS])
    share = pl.when(pl.col("group") == "").then(1.0).when(pl.col("group") == "FP32 truncated").then(0.2).otherwise(0.7)
    changes = {"accuracy_change": pl.col("loss") * share, "ece_change": 0.08 * pl.col("calibration") * share}
    changes["confidence_gap_change"] = -0.03 * share * (9 - pl.col("bits")) / 4
    margins = {"margin_change": pl.col("loss") * 5, "confidence_change": -0.02 * (9 - pl.col("bits"))}
    return [long(lines, changes), long(frame, margins)]


def _maps(every: pl.DataFrame) -> list[pl.DataFrame]:
    bits = pl.col("bits").clip(0, 9)
    radial = _by(every, [f"{r:g}" for r in RADII])
    radius = pl.col("group").cast(pl.Float64)
    noisy = _by(every, WAVES)
    speed = pl.col("group").str.split(",").list.eval(pl.element().cast(pl.Float64).abs()).list.sum()
    return [
        long(radial, {"radial_energy": 0.3 - 0.15 * radius + (9 - bits) * 0.01 * (0.7 - radius)}),
        long(noisy, {"fourier_error": 0.2 + 0.03 * speed + 0.02 * (9 - bits)}),
    ]


def _bins(every: pl.DataFrame) -> list[pl.DataFrame]:
    bins = _by(every, [f"bin {k}" for k in range(1, 10)])
    middle = pl.col("group").str.extract(r"(\d+)").cast(pl.Float64) / 10 + 0.05
    sign = pl.when(pl.col("source") == "laion").then(1.0).otherwise(-1.0)
    moved = 0.02 * sign * (9 - pl.col("bits").clip(0, 9))
    right = (middle - 0.05 * sign + 0.5 * pl.col("loss")).clip(0.02, 0.98)
    kinds = ("reliability", "trajectory")
    native = {f"{k}_confidence": (middle + moved).clip(0.02, 0.99) for k in kinds} | {
        f"{k}_accuracy": right for k in kinds
    }
    tuned = {f"{k}_confidence": right + 0.01 for k in kinds} | {f"{k}_accuracy": right for k in kinds}
    others = bins.filter(~pl.col("fp32")).with_columns(scale=pl.lit("tuned"))
    return [long(bins, native), long(others, tuned)]


def _classes(frame: pl.DataFrame) -> list[pl.DataFrame]:
    lines = _by(frame, list(CLASSES))
    weight = pl.col("group").replace_strict({c: i / 2 for i, c in enumerate(CLASSES)}, return_dtype=pl.Float64)
    return [long(lines, {"class_accuracy_change": pl.col("loss") * weight})]


def _by(frame: pl.DataFrame, groups: list[str]) -> pl.DataFrame:
    """Repeat a frame for every group."""
    return frame.join(pl.DataFrame({"group": groups}), how="cross")
